// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Matrices of known rank, and the singular values of others.

#include <gradpress/kernel/svd.hpp>

#include "lone_rank.hpp"

namespace gradpress::test {

inline floats times(float factor, floats x) {
  for (auto& v : x) v *= factor;
  return x;
}
/// A random rows x cols matrix of rank r.
inline floats of_rank(std::size_t r, shape d, std::uint64_t seed) {
  floats m(d.size());
  auto const u = heavy_tailed(d.rows * r, seed), v = heavy_tailed(d.cols * r, seed + 1000);
  for (std::size_t i = 0; i < d.rows; ++i)
    for (std::size_t j = 0; j < d.cols; ++j)
      for (std::size_t k = 0; k < r; ++k) m[i * d.cols + j] += u[i * r + k] * v[j * r + k];
  return m;
}
inline std::vector<double> singular_values(floats const& a, shape d) {
  auto const m = std::min(d.rows, d.cols);
  std::vector<double> values(m), vectors(m * m);
  std::vector<std::byte> work(kernel::svd_small_workspace(d.rows, d.cols));
  kernel::svd_small(host{}, a.data(), d.rows, d.cols, work.data(), values.data(), vectors.data());
  return values;
}
/// What is left of a matrix without the first r.
inline double tail(std::vector<double> const& values, std::size_t r) {
  double sum = 0;
  for (auto l = r; l < values.size(); ++l) sum += values[l] * values[l];
  return std::sqrt(sum);
}

}  // namespace gradpress::test
