// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selectors: entries drawn by magnitude and scaled up, for a given variance or a given density.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/select/density.hpp>
#include <gradpress/select/importance.hpp>

namespace gradpress {

/// Sends x[i] / p[i] with probability p[i], else nothing; of all p that add at most `variance` |x|^2, the one with the
/// least expected number of entries: p = min(1, |x| / cap).
///
/// - Shape     n coefficients in, 0 .. n indices out, differently in every step: messages of variable size.
/// - Order     indices ascend. Draws are this rank's own.
/// - Cost      some reads of x for the cap (2 to 11), one to draw, and a random number an uncertain entry.
/// - Edges     n = 0 and x = 0 keep nothing, and a draw may be empty: it is sent as it is, since to repeat it would make
///             the mean too large. variance = 0 keeps all entries but zeros. NaN is found and refused, and so is a cap
///             beyond the range of float.
/// - Bias      none; E |sent|^2 = (1 + variance) |x|^2. Use it without a memory.
/// - Source    Wangni, Wang, Liu, Zhang, Gradient Sparsification for Communication-Efficient Distributed Optimization,
///             NeurIPS 2018, algorithm 2. Differs: the certain entries are found by passes and not by sorting; certain
///             and uncertain ones travel alike.
struct unbiased_sparsifier {
  double variance = 1;  ///< added, relative to |x|^2

  using family = family::selector;
  static constexpr std::string_view name = "unbiased_sparsifier";
  static constexpr auto knobs = std::tuple{knob{"variance", &unbiased_sparsifier::variance}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }
  void check() const {
    if (!(variance >= 0) || !(variance < 1e12))
      throw configuration_error("unbiased_sparsifier: variance must lie in [0, 1e12), it is " +
                                std::to_string(variance));
  }

  template <class Exec>
  bool select_values(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, view<Exec> values) const {
    importance<Exec> p(ctx, x);
    auto const added = variance * p.sums().rest_squared;
    p.lower([=](auto const& s) { return (added + s.rest_squared) / s.rest; });
    return p.draw(kept, values);
  }
};

/// The same for a given density: at most max(1, density n) entries are expected, by a fixed number of greedy rounds.
///
/// - Cost      rounds + 2 reads of x, one to draw, and a random number an uncertain entry.
/// - Bias      none. Each round lowers the variance, and takes the expected number nearer to density n from below;
///             rounds without end are `atomo`.
/// - Source    the same, algorithm 3.
struct unbiased_density {
  double density = 0.01;  ///< expected share, in (0, 1]
  int rounds = 2;         ///< corrections of the first guess, 0 or more

  using family = family::selector;
  static constexpr std::string_view name = "unbiased_density";
  static constexpr auto knobs =
      std::tuple{knob{"density", &unbiased_density::density}, knob{"rounds", &unbiased_density::rounds}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }
  void check() const {
    check_density(name, density);
    if (rounds < 0 || rounds > 1000)
      throw configuration_error("unbiased_density: rounds must lie in 0 .. 1000, they are " + std::to_string(rounds));
  }

  template <class Exec>
  bool select_values(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, view<Exec> values) const {
    importance<Exec> p(ctx, x);
    p.spend(expected_of(density, x.extent(0)), 1 + rounds);
    return p.draw(kept, values);
  }
};

static_assert(explain_selector<unbiased_sparsifier>());
static_assert(explain_selector<unbiased_density>());

}  // namespace gradpress
