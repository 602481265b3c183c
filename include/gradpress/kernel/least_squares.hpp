// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Coefficients of least squares for a few vectors, from their inner products.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace gradpress::kernel {

/// Vectors that one combination may have.
inline constexpr int most_terms = 8;

/// Inner products of a few vectors: pair (i, j), i >= j, at i (i + 1) / 2 + j.
[[nodiscard]] constexpr std::size_t pair_at(int i, int j) noexcept {
  return static_cast<std::size_t>(i * (i + 1) / 2 + j);
}
using inner_products = std::array<double, pair_at(most_terms + 1, 0)>;

/// The factors c that make x[0] - sum of c[j] x[j + 1], j < count, short, rounded to float, from the inner products of
/// x[0] ... x[count].
///
/// Elimination with the largest remaining pivot, on vectors scaled to length 1; ties go to the smaller j. A vector that
/// adds less than 1e-5 of its length to those chosen before gets the factor 0: vectors that depend on one another do no
/// harm, and no factor grows beyond what a float carries.
inline std::array<float, most_terms> least_squares(inner_products const& of, int count) noexcept {
  constexpr double least_pivot = 1e-10;
  constexpr auto most = static_cast<std::size_t>(most_terms);
  auto const m = static_cast<std::size_t>(count);
  double a[most][most], b[most], length[most];
  for (std::size_t i = 0; i < m; ++i)
    length[i] = std::sqrt(of[pair_at(static_cast<int>(i) + 1, static_cast<int>(i) + 1)]);
  auto const scaled = [&](double v, double by) { return by > 0 ? v / by : 0; };
  for (std::size_t i = 0; i < m; ++i) {
    b[i] = scaled(of[pair_at(static_cast<int>(i) + 1, 0)], length[i]);
    for (std::size_t j = 0; j <= i; ++j)
      a[i][j] = a[j][i] = scaled(of[pair_at(static_cast<int>(i) + 1, static_cast<int>(j) + 1)], length[i] * length[j]);
  }
  std::size_t chosen[most], rank = 0;
  bool free[most];
  std::fill(free, free + m, true);
  for (; rank < m; ++rank) {
    auto pivot = most;
    for (std::size_t i = 0; i < m; ++i)
      if (free[i] && (pivot == most || a[i][i] > a[pivot][pivot])) pivot = i;
    if (!(a[pivot][pivot] > least_pivot)) break;
    free[pivot] = false;
    chosen[rank] = pivot;
    for (std::size_t i = 0; i < m; ++i) {
      if (!free[i]) continue;
      auto const share = a[i][pivot] / a[pivot][pivot];
      for (std::size_t j = 0; j < m; ++j) a[i][j] -= share * a[pivot][j];
      b[i] -= share * b[pivot];
    }
  }
  std::array<float, most_terms> factors{};
  double c[most] = {};
  while (rank-- > 0) {
    auto const i = chosen[rank];
    auto sum = b[i];
    for (std::size_t j = 0; j < m; ++j)
      if (j != i && c[j] != 0) sum -= a[i][j] * c[j];
    c[i] = sum / a[i][i];
    factors[i] = static_cast<float>(c[i] / length[i]);
    if (!std::isfinite(factors[i])) return {};
  }
  return factors;
}

}  // namespace gradpress::kernel
