// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Matrices whose singular values are known.

#include "lone_rank.hpp"

namespace gradpress::test {

/// `columns` orthonormal vectors of length n, one after the other, in double; the same in every run.
inline std::vector<std::vector<double>> orthonormal(std::size_t n, std::size_t columns, std::uint64_t seed) {
  std::vector<std::vector<double>> all;
  key const k = key{5}.with(seed);
  for (std::size_t j = 0; j < columns; ++j) {
    std::vector<double> v(n);
    for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<double>(k.uniform(j * n + i)) - 0.5;
    for (int pass = 0; pass < 2; ++pass)
      for (auto const& u : all) {
        double product = 0;
        for (std::size_t i = 0; i < n; ++i) product += u[i] * v[i];
        for (std::size_t i = 0; i < n; ++i) v[i] -= product * u[i];
      }
    double norm = 0;
    for (auto const x : v) norm += x * x;
    for (auto& x : v) x /= std::sqrt(norm);
    all.push_back(std::move(v));
  }
  return all;
}

/// Singular values sigma and random singular vectors.
inline floats planted(shape d, std::vector<double> const& sigma, std::uint64_t seed = 1) {
  auto const left = orthonormal(d.rows, sigma.size(), 2 * seed),
             right = orthonormal(d.cols, sigma.size(), 2 * seed + 1);
  floats m(d.size());
  for (std::size_t i = 0; i < d.rows; ++i)
    for (std::size_t j = 0; j < d.cols; ++j) {
      double x = 0;
      for (std::size_t s = 0; s < sigma.size(); ++s) x += sigma[s] * left[s][i] * right[s][j];
      m[i * d.cols + j] = static_cast<float>(x);
    }
  return m;
}

}  // namespace gradpress::test
