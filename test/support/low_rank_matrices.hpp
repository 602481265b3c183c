// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Singular values of matrices.

#include <gradpress/kernel/svd.hpp>

#include "matrices.hpp"

namespace gradpress::test {

inline floats times(float factor, floats x) {
  for (auto& v : x) v *= factor;
  return x;
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
