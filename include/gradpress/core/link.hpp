// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What collectives cost between the ranks of a communicator, as numbers that somebody measured or knows.

#include <algorithm>
#include <cmath>

namespace gradpress {

/// The cost of one collective among the ranks it was measured with: seconds(m) = alpha + beta m.
struct link_cost {
  double alpha = 0;  ///< seconds a call
  double beta = 0;   ///< seconds a byte that a rank contributes; of a gather it grows with the number of ranks

  [[nodiscard]] constexpr double seconds(double bytes) const noexcept { return alpha + beta * bytes; }
  friend constexpr bool operator==(link_cost const&, link_cost const&) = default;
};

/// The two collectives that everything here is made of.
struct link_costs {
  link_cost sum;     ///< an all-reduce of floats
  link_cost gather;  ///< an all-gather of equal messages
  friend constexpr bool operator==(link_costs const&, link_costs const&) = default;
};

/// One tensor's message, or one lane's, on its way: what a forecast needs.
struct message_load {
  double ranks = 1;         ///< P
  double coefficients = 0;  ///< n
  double entries = 0;       ///< k, of each rank
  double bytes = 0;         ///< that each rank contributes
};

/// Entries that the sum of `ranks` messages of k out of n has where supports are independent and uniform.
[[nodiscard]] inline double expected_union(double n, double k, double ranks) noexcept {
  return n <= 0 ? 0 : n * (1 - std::pow(1 - std::min(1.0, k / n), ranks));
}

}  // namespace gradpress
