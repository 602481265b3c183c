// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Momentum and what gathers it, in one pass each: u' = mu u + g, a = v + u', and u' = 0 where something of a has left.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/forming.hpp>
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

/// Makes the signal piece by piece, and writes u' to `next`, which may be no input. 16 bytes an element and the signal;
/// the same bits on every machine.
class momentum_form {
  momentum_pass pass_;
  float* next_;
  bool streaming_;
  isa path_;

 public:
  momentum_form(momentum_pass const& s, float* next, std::size_t n) noexcept;

  void operator()(std::size_t from, std::size_t to, float* a) const;
};

#if GRADPRESS_BODIES
GRADPRESS_INLINE momentum_form::momentum_form(momentum_pass const& s, float* next, std::size_t n) noexcept
    : pass_(s), next_(next), streaming_(detail::streams(next, n)), path_(current_isa()) {}
GRADPRESS_INLINE void momentum_form::operator()(std::size_t from, std::size_t to, float* a) const {
  alignas(64) float moved[forming::piece];
  for (; from < to; from += forming::piece, a += forming::piece) {
    auto const n = std::min(forming::piece, to - from);
    pass_.nesterov ? detail::momentum_piece<true>(path_, pass_, from, from + n, moved, a)
                   : detail::momentum_piece<false>(path_, pass_, from, from + n, moved, a);
    detail::put_piece(moved, n, next_ + from, streaming_);
  }
}
#endif

/// `next`, as `momentum_form` wrote it with the same pass, becomes 0 wherever `rest` differs from the signal. 12 bytes
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

GRADPRESS_ONCE(momentum_mask);
GRADPRESS_ONCE(momentum_mask_at);

}  // namespace gradpress::kernel
