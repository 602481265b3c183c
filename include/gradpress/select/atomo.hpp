// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: entries drawn by magnitude and scaled up, with the least variance for an expected number of them.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/select/density.hpp>
#include <gradpress/select/importance.hpp>

namespace gradpress {

/// Sends x[i] / p[i] with probability p[i], else nothing; of all p with the sum s = max(1, density n), the one of least
/// variance: p = min(1, |x| / cap).
///
/// - Shape     n coefficients in, 0 .. n indices out, s of them on average: messages of variable size.
/// - Order     indices ascend. Draws are this rank's own.
/// - Cost      some reads of x for the cap (2 to 7), one to draw, and a random number an uncertain entry.
/// - Edges     n = 0 and x = 0 keep nothing, and a draw may be empty: it is sent as it is, since to repeat it would make
///             the mean too large. All entries are kept if no more than s are not zero. NaN is found and refused.
/// - Bias      none; where no entry is certain the variance is |x|_1^2 / s - |x|_2^2. Use it without a memory.
/// - Source    Wang, Sievert, Liu, Charles, Papailiopoulos, Wright, ATOMO, NeurIPS 2018, algorithm 1, with the entries
///             as atoms. Differs: all entries above the level leave the water at once, which gives the same level.
struct atomo {
  double density = 0.01;  ///< expected share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "atomo";
  static constexpr auto knobs = std::tuple{knob{"density", &atomo::density}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }
  void check() const { check_density(name, density); }

  template <class Exec>
  bool select_values(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, view<Exec> values) const {
    importance<Exec> p(ctx, x);
    p.spend(expected_of(density, x.extent(0)));
    return p.draw(kept, values);
  }
};

static_assert(explain_selector<atomo>());

}  // namespace gradpress
