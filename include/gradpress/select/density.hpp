// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The density knob: how many entries it keeps, and which values are legal.

#include <gradpress/core/error.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace gradpress {

/// min(n, max(1, floor(density n))): at least one entry of a tensor that has any.
[[nodiscard]] constexpr std::size_t kept_of(double density, std::size_t n) noexcept {
  auto const k = static_cast<std::size_t>(density * static_cast<double>(n));
  return std::min(n, std::max<std::size_t>(1, k));
}
/// The same for selectors that keep so many on average: not rounded.
[[nodiscard]] constexpr double expected_of(double density, std::size_t n) noexcept {
  return std::max(1., density * static_cast<double>(n));
}
inline void check_density(std::string_view policy, double density) {
  if (!(density > 0 && density <= 1))
    throw configuration_error(std::string(policy) + ": density must lie in (0, 1], it is " + std::to_string(density));
}

}  // namespace gradpress
