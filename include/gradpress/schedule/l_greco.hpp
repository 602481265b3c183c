// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Ranks by tensor that change during training: the smallest messages whose errors add up to no more than the defaults'.

#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/schedule/budget_choices.hpp>

#include <tuple>
#include <utility>

namespace gradpress {

struct l_greco_options {
  double alpha = 1;             ///< share of the defaults' error that is allowed
  std::uint64_t every = 1000;   ///< steps between adjustments; an epoch in the paper
  std::uint64_t window = 10;    ///< steps before an adjustment whose signals are added up
  double lower = 0.5;           ///< ranks from floor(lower * default) ...
  double upper = 2;             ///< ... to ceil(upper * default), at least 1 and at most 32
  std::size_t buckets = 10000;  ///< of `choose_budgets`
  int iterations = 5;           ///< of `rank_choices`

  static constexpr std::string_view name = "l_greco";
  static constexpr auto knobs =
      std::tuple{knob{"alpha", &l_greco_options::alpha},          knob{"every", &l_greco_options::every},
                 knob{"window", &l_greco_options::window},        knob{"lower", &l_greco_options::lower},
                 knob{"upper", &l_greco_options::upper},          knob{"buckets", &l_greco_options::buckets},
                 knob{"iterations", &l_greco_options::iterations}};

  void check() const {
    if (every == 0 || window == 0 || window > every)
      throw configuration_error("l_greco: window must lie in 1..every, it is " + std::to_string(window) + " of " +
                                std::to_string(every));
    if (!(lower > 0 && lower <= 1 && upper >= 1 && upper <= 32))
      throw configuration_error("l_greco: lower must lie in (0, 1] and upper in 1..32");
    if (iterations < 1) throw configuration_error("l_greco: iterations must be at least 1");
  }
};

/// A tensor whose rank is to change.
struct rank_change {
  std::size_t tensor = 0;  ///< its number, as `add` returned it
  int before = 0, after = 0;
};

template <class Exec>
class adaptive_ranks;

/// Collects signals and adjusts ranks. It sends nothing and knows no reducer, as `adaptive_ranks` does: `observe` takes what
/// the caller has summed over the ranks, and `adjust` returns what the caller is to set.
///
/// - Input     the sum over all ranks of gradient plus memory, rows x cols, row-major, the same bits on all ranks. The
///             bits decide: ranks that see the same sums choose alike, with no broadcast. Were they to differ, the next
///             step would fail on all ranks, since ranks compare their knobs.
/// - Window    the signals of the last `window` steps before an adjustment are added; others are not read.
/// - Order     adjust(s) comes before step s; it does something where s is a multiple of `every`, above 0.
/// - Promise   what is set has true errors on these sums of at most alpha times those of the defaults, and for
///             alpha >= 1 at most their bytes; or nothing is set (see `last`). The defaults stay what they were when
///             added: errors do not creep from adjustment to adjustment.
/// - Edges     a tensor that was not observed in the window, or whose sum holds NaN or infinity, keeps its rank and is
///             left out of sums. A sum of zeros gets the lowest rank.
/// - Cost      4 bytes an element; a pass over the tensor a step of the window, 2 iterations + 3 passes an adjustment.
/// - Source    Alimohammadi, Markov, Frantar, Alistarh, L-GreCo, MLSys 2024. Differs: the sum over all ranks, where the
///             published code reads rank 0's signals alone and sends the result to the others.
template <class Exec = Kokkos::DefaultHostExecutionSpace>
class l_greco {
  struct tensor {
    std::string name;
    shape dims;
    int by_default = 1, lowest = 1, highest = 1, now = 1;
    buffer<Exec> sum{};
    std::uint64_t observed = 0;  // steps in `sum`
  };
  l_greco_options options_;
  Exec exec_;
  std::vector<tensor> tensors_;
  budget_plan last_;
  friend class adaptive_ranks<Exec>;

 public:
  explicit l_greco(l_greco_options const& options = {}, Exec exec = {}) : options_(options), exec_(std::move(exec)) {
    options_.check();
    static_cast<void>(choose_budgets({}, options_.alpha, options_.buckets));
  }

  /// A matrix compressed with `by_default` columns; `now` where it has another rank already, as after a restart. Returns
  /// its number, from 0. Ranks add the same tensors in the same order.
  std::size_t add(std::string name, std::size_t rows, std::size_t cols, int by_default, int now = 0) {
    auto const full = static_cast<int>(std::min<std::size_t>({rows, cols, 32}));
    if (by_default < 1 || by_default > 32 || now < 0 || now > 32)
      throw configuration_error("l_greco: tensor '" + name + "': ranks must lie in 1..32, its default is " +
                                std::to_string(by_default));
    if (full < 1) throw configuration_error("l_greco: tensor '" + name + "' has no elements; leave it out");
    for (auto const& t : tensors_)
      if (t.name == name) throw configuration_error("l_greco: tensor '" + name + "' was added before");
    tensor t{.name = std::move(name), .dims = {rows, cols}, .now = now > 0 ? now : by_default};
    t.sum = kernel::zeros(exec_, "gradpress::sum", rows * cols);
    set_default(t, std::min(by_default, full));
    tensors_.push_back(std::move(t));
    return tensors_.size() - 1;
  }

  /// Does step number `step` belong to the window before an adjustment? Sums of other steps need not be made.
  [[nodiscard]] bool wants(std::uint64_t step) const noexcept {
    return step % options_.every >= options_.every - options_.window;
  }
  /// Does adjust(step) do something, if a tensor was observed?
  [[nodiscard]] bool adjusts(std::uint64_t step) const noexcept { return step > 0 && step % options_.every == 0; }
  void observe(std::size_t t, std::uint64_t step, std::span<float const> sum) {
    auto& to = at(t);
    if (sum.size() != to.dims.size())
      throw configuration_error("l_greco: tensor '" + to.name + "': a sum of " + std::to_string(sum.size()) +
                                " elements was observed, it has " + std::to_string(to.dims.size()));
    if (!wants(step)) return;
    kernel::accumulate(exec_, sum.data(), false, to.sum.data(), sum.size());
    ++to.observed;
  }

  /// What to set before step number `step`; the tensors count as having these ranks from then on.
  std::vector<rank_change> adjust(std::uint64_t step) {
    std::vector<rank_change> changes;
    if (!adjusts(step)) return changes;
    std::vector<budget_table> tables;
    std::vector<std::size_t> of;
    for (std::size_t t = 0; t < tensors_.size(); ++t)
      if (auto table = table_of(tensors_[t]); !table.choices.empty())
        tables.push_back(std::move(table)), of.push_back(t);
    if (tables.empty()) return changes;
    last_ = choose_budgets(tables, options_.alpha, options_.buckets);
    for (std::size_t i = 0; i < of.size() && last_.feasible; ++i) {
      auto& t = tensors_[of[i]];
      auto const after = static_cast<int>(tables[i].choices[last_.picks[i]].value);
      if (after != t.now) changes.push_back({of[i], std::exchange(t.now, after), after});
    }
    return changes;
  }

  /// Its rank was changed by another hand, as by a checkpoint.
  void set_rank(std::size_t t, int now) { at(t).now = now; }
  [[nodiscard]] int rank(std::size_t t) const { return tensors_.at(t).now; }
  [[nodiscard]] std::string const& name(std::size_t t) const { return tensors_.at(t).name; }
  [[nodiscard]] std::size_t size() const noexcept { return tensors_.size(); }
  /// Bytes, error, budget and feasibility of the last adjustment that knew a tensor's signals.
  [[nodiscard]] budget_plan const& last() const noexcept { return last_; }

  /// Defaults, ranks and the sums of a window that has begun; not `last`. The same bytes on all ranks. Others may follow
  /// in the same stream.
  void save(std::ostream& to) const { write(to, {}, std::vector<std::span<float const>>(tensors_.size())); }
  /// Reads what a planner with the same options and tensors saved, and no further; defaults are then those of the one
  /// that saved. All or nothing; throws `state_error`.
  void load(std::istream& from) { read(from, {}); }

 private:
  void set_default(tensor& t, int rank) const {
    auto const full = static_cast<int>(std::min<std::size_t>({t.dims.rows, t.dims.cols, 32}));
    auto const within = [&](double r) { return std::clamp(static_cast<int>(r), 1, full); };
    t.by_default = rank;
    t.lowest = within(std::floor(options_.lower * rank));
    t.highest = within(std::ceil(options_.upper * rank));
  }

  void write(std::ostream& to, checkpoint::header const& here, std::vector<std::span<float const>> const& more) const;
  void read(std::istream& from, checkpoint::header const& here);
  void take(tensor& t, checkpoint::knobs const& saved, std::string const& options) const;
  tensor& at(std::size_t t) {
    if (t >= tensors_.size())
      throw configuration_error("l_greco: tensor number " + std::to_string(t) + " was never added; there are " +
                                std::to_string(tensors_.size()));
    return tensors_[t];
  }
  /// Uses the sum up. Without choices if nothing is known of the tensor.
  budget_table table_of(tensor& t) {
    budget_table table{.name = t.name, .choices = {}};
    if (std::exchange(t.observed, 0) == 0) return table;
    table.choices = rank_choices<Exec>(exec_, t.sum, t.dims, t.lowest, t.highest, options_.iterations);
    kernel::fill_zero(exec_, t.sum.data(), t.dims.size());
    if (std::isnan(table.choices[0].error)) table.choices.clear();
    table.by_default = static_cast<std::size_t>(t.by_default - t.lowest);
    return table;
  }
};

}  // namespace gradpress

#include <gradpress/schedule/l_greco_state.hpp>
