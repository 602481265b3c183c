// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Weighted means of two vectors, for memories that move part of the way.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>

namespace gradpress::kernel {

namespace detail {

/// (1 - t) a + t b, every product rounded before the sum.
struct weights {
  float of_a, of_b;
  explicit weights(float t) : of_a(1 - t), of_b(t) {}
};

GRADPRESS_UNFUSED inline void blend_range(weights w, float const* a, float const* b, float* out,
                                          std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const x = w.of_a * a[i], y = w.of_b * b[i];
    out[i] = x + y;
  }
}
GRADPRESS_UNFUSED inline void blend_less_range(weights w, float const* a, float const* b, float const* less, float* out,
                                               std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const x = w.of_a * a[i], y = w.of_b * b[i];
    out[i] = (x + y) - less[i];
  }
}
GRADPRESS_UNFUSED inline void blend_difference_range(weights w, float const* a, float const* b, float const* less,
                                                     float* out, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const x = w.of_a * a[i], y = w.of_b * (b[i] - less[i]);
    out[i] = x + y;
  }
}

}  // namespace detail

/// out = (1 - t) a + t b, exactly b where t = 1. The same bits on every machine; out may be a or b unless t = 1.
template <class Exec>
void blend(Exec const& exec, float t, float const* a, float const* b, float* out, std::size_t n) {
  if (t == 1.f) return copy(exec, b, n, out);
  for_ranges(exec, "gradpress::kernel::blend", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::blend_range(detail::weights(t), a + from, b + from, out + from, to - from);
  });
}

/// out = ((1 - t) a + t b) - less, the blend rounded first; exactly b - less where t = 1. out may be any of the three.
template <class Exec>
void blend_less(Exec const& exec, float t, float const* a, float const* b, float const* less, float* out,
                std::size_t n) {
  if (t == 1.f) return sub(exec, b, less, out, n);
  for_ranges(exec, "gradpress::kernel::blend_less", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::blend_less_range(detail::weights(t), a + from, b + from, less + from, out + from, to - from);
  });
}

/// out = (1 - t) a + t (b - less), the difference rounded first; exactly b - less where t = 1. out may be any of the
/// three.
template <class Exec>
void blend_difference(Exec const& exec, float t, float const* a, float const* b, float const* less, float* out,
                      std::size_t n) {
  if (t == 1.f) return sub(exec, b, less, out, n);
  for_ranges(exec, "gradpress::kernel::blend_difference", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::blend_difference_range(detail::weights(t), a + from, b + from, less + from, out + from, to - from);
  });
}

GRADPRESS_ONCE(blend);
GRADPRESS_ONCE(blend_less);
GRADPRESS_ONCE(blend_difference);

}  // namespace gradpress::kernel
