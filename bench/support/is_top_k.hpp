// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a selection must have found, by std::nth_element.

#include <gradpress/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace gradpress::bench {

/// Is `at` the exact top-k of x by (|x| descending, index ascending)?
inline bool is_top_k(float const* x, std::size_t n, std::vector<index_t> const& at) {
  std::vector<index_t> order(n);
  std::iota(order.begin(), order.end(), index_t{0});
  auto const more = [x](index_t i, index_t j) {
    auto const a = std::fabs(x[i]), b = std::fabs(x[j]);
    return a != b ? a > b : i < j;
  };
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(at.size()), order.end(), more);
  order.resize(at.size());
  std::sort(order.begin(), order.end());
  return order == at;
}

}  // namespace gradpress::bench
