// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Matrices of a known rank, and a check that may stand in a rank's thread.

#include "lone_rank.hpp"

#include <stdexcept>

namespace gradpress::test {

/// A random rows x cols matrix of rank r.
inline floats of_rank(std::size_t r, shape d, std::uint64_t seed) {
  floats m(d.size());
  auto const u = heavy_tailed(d.rows * r, seed), v = heavy_tailed(d.cols * r, seed + 1000);
  for (std::size_t i = 0; i < d.rows; ++i)
    for (std::size_t j = 0; j < d.cols; ++j)
      for (std::size_t k = 0; k < r; ++k) m[i * d.cols + j] += u[i * r + k] * v[j * r + k];
  return m;
}

/// doctest's checks belong to the main thread; an exception of a rank reaches it.
inline void require(bool good, char const* what) {
  if (!good) throw std::runtime_error(what);
}

}  // namespace gradpress::test
