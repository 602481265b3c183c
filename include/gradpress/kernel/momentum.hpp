// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Momentum and what gathers it, in one pass each: u' = mu u + g, a = v + u', and u' = 0 where something of a has left.

#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/portable/momentum.hpp>
#include <gradpress/kernel/x86/momentum.hpp>

namespace gradpress::kernel {

namespace detail {

template <bool Nesterov>
void momentum_chunk([[maybe_unused]] isa path, momentum_pass const& s, std::size_t from, std::size_t to, float* next,
                    float* a, bool streaming) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512)
    momentum_range_avx512<Nesterov>(s, from, to, next, a, streaming);
  else if (path == isa::avx2)
    momentum_range_avx2<Nesterov>(s, from, to, next, a, streaming);
  else
#endif
    momentum_range<Nesterov>(s, from, to, next, a);
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

}  // namespace gradpress::kernel
