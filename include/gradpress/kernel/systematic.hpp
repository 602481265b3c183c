// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Draws of a fixed number of things, each with a probability of its own.

#include <cstddef>
#include <cstdint>

namespace gradpress::kernel {

/// The probabilities in proportion to weights, but at most 1, whose sum is min(budget, number of weights above zero):
/// those of least variance sum of w^2 (1/p - 1) for that sum.
///
/// - Shape   n weights >= 0, which do not ascend, in; n probabilities out, where no weight stands.
/// - Order   the first are the certain ones.
/// - Cost    two passes over n.
/// - Source  Wang et al., ATOMO, NeurIPS 2018, algorithm 1.
inline void fill_water(double const* weight, std::size_t n, std::size_t budget, double* p) noexcept {
  std::size_t positive = 0;
  while (positive < n && weight[positive] > 0) ++positive;
  double sum = 0;
  for (auto l = n; l-- > 0;) p[l] = sum += weight[l];  // of this one and all behind
  std::size_t certain = 0;
  if (positive <= budget) certain = positive;
  while (certain < positive && weight[certain] * static_cast<double>(budget - certain) >= p[certain]) ++certain;
  auto const left = static_cast<double>(budget - certain), rest = certain < n ? p[certain] : 0.;
  for (std::size_t l = 0; l < n; ++l) p[l] = l < certain ? 1. : l < positive ? left * (weight[l] / rest) : 0.;
}

/// 64 random bits as a number in [0, 1), a multiple of 2^-40.
[[nodiscard]] constexpr double fraction(std::uint64_t bits) noexcept {
  return static_cast<double>(bits >> 24) * 0x1p-40;
}

/// Draws thing l with probability p[l] <= 1 for u uniform in [0, 1): those in whose stretch of the line, the p laid end
/// to end, one of u, u + 1, u + 2 ... falls. Returns how many; their indices go to `drawn`.
///
/// - Shape   room for `most`. If the p sum up to a whole number, right to 2^-40, so many are drawn whatever u is.
/// - Order   indices ascend.
/// - Edges   what is certain is always drawn, zeros never. Draws of different things are not independent.
/// - Cost    one pass over n.
/// - Source  Madow, On the theory of systematic sampling II, Ann. Math. Stat. 1949.
inline std::size_t draw_systematic(double const* p, std::size_t n, double u, std::size_t most,
                                   std::size_t* drawn) noexcept {
  double end = 0;
  std::size_t count = 0;
  for (std::size_t l = 0; l < n && count < most; ++l) {
    end += p[l];
    if (u + static_cast<double>(count) < end) drawn[count++] = l;
  }
  return count;
}

}  // namespace gradpress::kernel
