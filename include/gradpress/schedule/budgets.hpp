// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which value of a knob each tensor gets, so that all messages together are smallest at an error that was agreed to.

#include <gradpress/core/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace gradpress {

/// What one value of a knob costs and loses.
struct budget_choice {
  double value = 0;  ///< of the knob: a rank, a density, bits
  double bytes = 0;  ///< of the tensor's messages
  double error = 0;  ///< of the tensor; NaN or infinity: nothing is known of this choice, and it is never picked
};

/// The choices of one tensor, in any order, at most 256.
struct budget_table {
  std::string name;  ///< of the tensor, for messages
  std::vector<budget_choice> choices;
  std::size_t by_default = 0;  ///< the choice whose error counts towards the budget
  std::size_t now = 0;         ///< the choice that stays where nothing fits
};

/// What was picked: a choice a table.
struct budget_plan {
  std::vector<std::size_t> picks;
  double bytes = 0, error = 0;  ///< sums over the picks, in the order of the tables
  double budget = 0;            ///< what the errors may add up to
  bool feasible = false;  ///< false: no choice fits the budget, or a default's error is unknown; picks are as `now`
};

namespace detail {
inline void check_budgets(std::span<budget_table const> tables, double alpha, std::size_t buckets) {
  auto const legal = [](double v) { return v >= 0 && v < std::numeric_limits<double>::infinity(); };
  if (!legal(alpha))
    throw configuration_error("choose_budgets: alpha must be finite and at least 0, it is " + std::to_string(alpha));
  if (buckets < 1 || buckets >= std::size_t{1} << 24)
    throw configuration_error("choose_budgets: buckets must lie in 1..16777215, they are " + std::to_string(buckets));
  for (auto const& t : tables) {
    auto const here = "choose_budgets: tensor '" + t.name + "': ";
    if (t.choices.empty() || t.choices.size() > 256)
      throw configuration_error(here + "has " + std::to_string(t.choices.size()) +
                                " choices; give it 1 to 256, or leave it out");
    if (t.by_default >= t.choices.size() || t.now >= t.choices.size())
      throw configuration_error(here + "by_default and now must be below its " + std::to_string(t.choices.size()) +
                                " choices");
    for (auto const& c : t.choices)
      if (!legal(c.bytes) || c.error < 0)
        throw configuration_error(here + "bytes must be finite and at least 0, and errors at least 0");
  }
}

/// Sums over one choice a table.
inline budget_plan priced(std::span<budget_table const> tables, std::vector<std::size_t> picks, double budget) {
  budget_plan p{.picks = std::move(picks), .budget = budget};
  for (std::size_t l = 0; l < tables.size(); ++l) {
    p.bytes += tables[l].choices[p.picks[l]].bytes;
    p.error += tables[l].choices[p.picks[l]].error;
  }
  p.feasible = p.error <= budget;  // no sum that is NaN
  return p;
}

/// The programme itself: for each bucket of error the cheapest way to get there. Empty if none ends within the budget.
inline std::vector<std::size_t> cheapest_picks(std::span<budget_table const> tables, double budget,
                                               std::size_t buckets) {
  struct way {
    double bytes = std::numeric_limits<double>::infinity(), error = 0;
  };
  auto const L = tables.size(), D = buckets + 1;  // the last one for whoever spends it all
  std::vector<double> rest(L + 1, 0);             // the least that the tables from l on must spend
  for (auto l = L; l-- > 0;) {
    auto least = std::numeric_limits<double>::infinity();
    for (auto const& c : tables[l].choices) least = c.error < least ? c.error : least;  // NaN is not less
    rest[l] = rest[l + 1] + least;
  }
  auto const per_error = budget > 1e-290 ? static_cast<double>(buckets) / budget : 0;  // or it overflows
  std::vector<way> ways(D), next(D);
  std::vector<std::uint32_t> steps(L * D);  // bucket before * 256 + choice
  ways[0].bytes = 0;
  for (std::size_t l = 0; l < L; ++l) {
    std::fill(next.begin(), next.end(), way{});
    for (std::size_t d = 0; d < D; ++d) {
      if (std::isinf(ways[d].bytes)) continue;
      for (std::size_t c = 0; c < tables[l].choices.size(); ++c) {
        auto const& choice = tables[l].choices[c];
        way const to{ways[d].bytes + choice.bytes, ways[d].error + choice.error};
        if (!(to.error <= budget && to.error + rest[l + 1] <= budget * (1 + 1e-12))) continue;
        auto const b = std::min(buckets, static_cast<std::size_t>(to.error * per_error));
        if (to.bytes > next[b].bytes || (to.bytes == next[b].bytes && to.error >= next[b].error)) continue;
        next[b] = to;
        steps[l * D + b] = static_cast<std::uint32_t>(d * 256 + c);
      }
    }
    ways.swap(next);
  }
  auto const best =
      std::min_element(ways.begin(), ways.end(), [](way const& a, way const& b) { return a.bytes < b.bytes; });
  std::vector<std::size_t> picks;
  if (std::isinf(best->bytes)) return picks;
  auto at = static_cast<std::size_t>(best - ways.begin());
  for (auto l = L; l-- > 0; at = steps[l * D + at] / 256) picks.push_back(steps[l * D + at] % 256);
  std::reverse(picks.begin(), picks.end());
  return picks;
}
}  // namespace detail

/// Minimises the sum of bytes subject to: sum of errors <= alpha * sum of the defaults' errors.
///
/// - Units     errors of all tables in one unit, and added as they are. The published tables hold Euclidean norms, not
///             their squares; whoever wants squares puts squares in.
/// - Promise   `feasible`: the true errors, added in the order of the tables, are within the budget. With alpha >= 1 the
///             defaults are feasible, and what is picked needs no more bytes. It needs no more than the best pick for
///             a budget that is smaller by L / buckets of itself, and is the best one if all errors are multiples of one
///             that goes into the budget at most `buckets` times.
/// - Edges     alpha = 0 allows choices without error only. Where even the least errors exceed the budget, or a
///             default's is NaN or infinite, the plan is not feasible and its picks are as `now`. No tables, no picks.
/// - Errors    `configuration_error` names the tensor: no choices or more than 256, negative errors, bytes that are
///             negative or not finite; and alpha negative or not finite.
/// - Cost      O(L buckets C) for L tables of C choices; 4 L buckets bytes.
/// - Source    Alimohammadi, Markov, Frantar, Alistarh, L-GreCo, MLSys 2024, algorithm 1. Differs: a bucket keeps the
///             true error of its cheapest way, where theirs adds errors that were rounded up and can find its own
///             defaults to be infeasible.
inline budget_plan choose_budgets(std::span<budget_table const> tables, double alpha = 1, std::size_t buckets = 10000) {
  detail::check_budgets(tables, alpha, buckets);
  std::vector<std::size_t> defaults, least, now;
  for (auto const& t : tables) {
    std::size_t smallest = 0;
    for (std::size_t c = 1; c < t.choices.size(); ++c)
      if (t.choices[c].error < t.choices[smallest].error || !std::isfinite(t.choices[smallest].error)) smallest = c;
    defaults.push_back(t.by_default), least.push_back(smallest), now.push_back(t.now);
  }
  auto const budget = alpha * detail::priced(tables, defaults, 0).error;
  auto best = detail::priced(tables, now, budget);
  best.feasible = false;
  if (!std::isfinite(budget)) return best;
  auto const consider = [&](std::vector<std::size_t> picks) {
    if (picks.size() != tables.size()) return;
    auto plan = detail::priced(tables, std::move(picks), budget);
    if (plan.feasible && (!best.feasible || plan.bytes < best.bytes)) best = std::move(plan);
  };
  consider(detail::cheapest_picks(tables, budget, buckets));
  consider(std::move(defaults));
  consider(std::move(least));
  return best;
}

}  // namespace gradpress
