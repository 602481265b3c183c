// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sums of dense vectors on their way to the mean.

#include <gradpress/kernel/launch.hpp>

namespace gradpress::kernel {

inline constexpr std::size_t combine_grain = 65536;

/// to[i] += from[i], or -= with `minus`: no product, so no compiler can contract it differently.
template <class Exec>
void accumulate(Exec const& exec, float const* from, bool minus, float* to, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::accumulate", n, combine_grain, [&](std::size_t i, std::size_t end) {
    if (minus)
      for (; i < end; ++i) to[i] -= from[i];
    else
      for (; i < end; ++i) to[i] += from[i];
  });
}

/// to[i] = from[i] / divisor; in place if they are the same.
template <class Exec>
void copy_divided(Exec const& exec, float const* from, float divisor, float* to, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::copy_divided", n, combine_grain, [&](std::size_t i, std::size_t end) {
    for (; i < end; ++i) to[i] = from[i] / divisor;
  });
}

}  // namespace gradpress::kernel
