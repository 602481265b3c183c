// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a selection leaves for the next one: the threshold that about k entries reach.

#include <gradpress/kernel/above.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>
#include <span>

namespace gradpress::kernel {

/// All but zeros reach this.
inline constexpr float lowest_threshold = std::numeric_limits<float>::denorm_min();

/// The smallest |v|, exactly; 0 of none. NaN counts as more than infinity.
[[nodiscard]] inline float smallest_magnitude(std::span<float const> values) noexcept {
  if (values.empty()) return 0;
  auto least = magnitude(values[0]);
  for (auto const v : values) least = std::min(least, magnitude(v));
  return std::bit_cast<float>(least);
}

/// The next threshold where only `passed` < k entries reached t: t (1 + passed / k) / 2.
[[nodiscard]] inline float lowered_threshold(float t, std::size_t passed, std::size_t k) noexcept {
  return t * (0.5f + 0.5f * (static_cast<float>(passed) / static_cast<float>(k)));
}

}  // namespace gradpress::kernel
