// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: one run of consecutive entries at a random place that all ranks share.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

/// Keeps k = max(1, floor(density n)) consecutive entries, wrapping around at the end.
///
/// - Shape     n coefficients in, k indices out; the start is uniform in [0, n) from the shared key, new in every step.
/// - Order     indices ascend; with wrap-around the run's tail comes first.
/// - Cost      O(k): the cheapest selector. No indices travel and values add up, so the exchange is an all-reduce.
/// - Edges     n = 0 keeps nothing; density 1 is the identity.
/// - Bias      a contraction with delta = k/n exactly in expectation (wrap-around makes every inclusion k/n).
///             Neighbours are kept together, so the error of a step has heavy tails: use it with a memory.
/// - Source    Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, appendix (random block baseline); Xu and Huang, DEF,
///             ICML 2022.
struct random_block {
  double density = 1.0 / 64;  ///< kept share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "random_block";
  static constexpr auto knobs = std::tuple{knob{"density", &random_block::density}};
  static constexpr support where = support::shared;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  void select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n);
    kept.count = k;
    if (k == 0) return;
    auto const start = static_cast<std::size_t>(ctx.shared(purpose::support).bits(0) % n);
    auto const wrapped = start + k > n ? start + k - n : 0;
    for (std::size_t i = 0; i < k; ++i) kept.indices(i) = static_cast<index_t>(i < wrapped ? i : start + i - wrapped);
  }
};

static_assert(explain_selector<random_block>());

}  // namespace gradpress
