// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One operation on every element of a range, in plain C++.

#include <gradpress/kernel/blocks.hpp>

namespace gradpress::kernel::detail {

enum class dense_op { read, read_sum, add, sub, divide, multiply };

/// out = a op b, with b a vector or, if null, the scalar; `read` only looks at a, `read_sum` at a + b.
struct dense_pass {
  float const* a;
  float const* b;
  float scalar;
  float* out;
  bool streaming = false;  ///< write out around the caches
};

template <dense_op Op>
inline constexpr bool dense_writes = Op != dense_op::read&& Op != dense_op::read_sum;

template <dense_op Op>
inline float dense_value(float a, float b) noexcept {
  if constexpr (Op == dense_op::add || Op == dense_op::read_sum) return a + b;
  if constexpr (Op == dense_op::sub) return a - b;
  if constexpr (Op == dense_op::divide) return a / b;
  if constexpr (Op == dense_op::multiply) return a * b;
  return a;
}

/// Runs over [from, to); returns the bits of the largest magnitude of the results.
template <dense_op Op>
inline std::uint32_t dense_range(dense_pass const& s, std::size_t from, std::size_t to) noexcept {
  if constexpr (Op == dense_op::read) return top_magnitude(s.a + from, to - from);
  std::uint32_t top = 0;
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    float v[16];
    if (s.b)
      for (std::size_t l = 0; l < 16; ++l) v[l] = dense_value<Op>(s.a[i + l], s.b[i + l]);
    else
      for (std::size_t l = 0; l < 16; ++l) v[l] = dense_value<Op>(s.a[i + l], s.scalar);
    top = std::max(top, top_magnitude(v, 16));
    if constexpr (dense_writes<Op>) std::memcpy(s.out + i, v, sizeof v);
  }
  for (; i < to; ++i) {
    auto const v = dense_value<Op>(s.a[i], s.b ? s.b[i] : s.scalar);
    top = std::max(top, top_magnitude(&v, 1));
    if constexpr (dense_writes<Op>) s.out[i] = v;
  }
  return top;
}

}  // namespace gradpress::kernel::detail
