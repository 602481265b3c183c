// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Momentum and what gathers it, in one pass each: u' = mu u + g, a = v + u', and u' = 0 where something of a has left.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/portable/momentum.hpp>
#include <gradpress/kernel/x86/momentum.hpp>

namespace gradpress::kernel {

namespace detail {

template <bool Nesterov>
void momentum_piece([[maybe_unused]] isa path, momentum_pass const& s, std::size_t from, std::size_t to, float* next,
                    float* a) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512) return momentum_range_avx512<Nesterov>(s, from, to, next, a);
  if (path == isa::avx2) return momentum_range_avx2<Nesterov>(s, from, to, next, a);
#endif
  momentum_range<Nesterov>(s, from, to, next, a);
}

/// Pieces that wait in the nearest cache until they are written around the others. Written at once, such a store holds up
/// every load from the same place of another page that comes soon after: up to ten times slower.
inline constexpr std::size_t momentum_room = 1024;

inline void write_around(float const* piece, float* out) noexcept {
#if GRADPRESS_X86
  for (std::size_t l = 0; l < momentum_room; l += 4) _mm_stream_ps(out + l, _mm_load_ps(piece + l));
#else
  std::memcpy(out, piece, momentum_room * sizeof(float));
#endif
}
template <bool Nesterov>
void momentum_chunk(isa path, momentum_pass const& s, std::size_t from, std::size_t to, float* next, float* a,
                    bool streaming) noexcept {
  alignas(64) float u[momentum_room], sum[momentum_room];
  for (; streaming && from + momentum_room <= to; from += momentum_room) {
    momentum_piece<Nesterov>(path, s, from, from + momentum_room, u, sum);
    write_around(u, next + from);
    write_around(sum, a + from);
  }
  momentum_piece<Nesterov>(path, s, from, to, next + from, a + from);
  end_streaming(streaming);
}
template <bool Nesterov>
void mask_chunk([[maybe_unused]] isa path, momentum_pass const& s, float const* rest, std::size_t from, std::size_t to,
                float* next) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512) return mask_range_avx512<Nesterov>(s, rest, from, to, next);
  if (path == isa::avx2) return mask_range_avx2<Nesterov>(s, rest, from, to, next);
#endif
  mask_range<Nesterov>(s, rest, from, to, next);
}

}  // namespace detail

/// Writes u' to `next` and the signal to `a`; neither may be an input. 20 bytes an element, the same bits on every
/// machine.
template <class Exec>
void momentum_signal(Exec const& exec, momentum_pass const& s, float* next, float* a, std::size_t n) {
  bool const streaming = detail::streams(next, n) && detail::streams(a, n);
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::momentum_signal", n, dense_grain, [&](std::size_t from, std::size_t to) {
    s.nesterov ? detail::momentum_chunk<true>(path, s, from, to, next, a, streaming)
               : detail::momentum_chunk<false>(path, s, from, to, next, a, streaming);
  });
}

/// `next`, as `momentum_signal` wrote it with the same pass, becomes 0 wherever `rest` differs from the signal. 12 bytes
/// an element, 16 with `nesterov`, and what changes.
template <class Exec>
void momentum_mask(Exec const& exec, momentum_pass const& s, float const* rest, float* next, std::size_t n) {
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::momentum_mask", n, dense_grain, [&](std::size_t from, std::size_t to) {
    s.nesterov ? detail::mask_chunk<true>(path, s, rest, from, to, next)
               : detail::mask_chunk<false>(path, s, rest, from, to, next);
  });
}

/// The same at the m positions `at`, which are distinct.
template <class Exec>
void momentum_mask_at(Exec const& exec, momentum_pass const& s, float const* rest, index_t const* at, std::size_t m,
                      float* next) {
  for_ranges(exec, "gradpress::kernel::momentum_mask_at", m, dense_grain, [&](std::size_t from, std::size_t to) {
    s.nesterov ? detail::mask_positions<true>(s, rest, at, from, to, next)
               : detail::mask_positions<false>(s, rest, at, from, to, next);
  });
}

GRADPRESS_ONCE(momentum_signal);
GRADPRESS_ONCE(momentum_mask);
GRADPRESS_ONCE(momentum_mask_at);

}  // namespace gradpress::kernel
