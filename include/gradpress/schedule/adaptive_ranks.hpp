// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Ranks by tensor that a reducer changes by itself during training.

#include <gradpress/reducer.hpp>
#include <gradpress/schedule/l_greco.hpp>

#include <memory>
#include <utility>

namespace gradpress {

/// An `l_greco` for the tensors of a reducer: watches them in its window and sets their ranks.
///
///     gp::adaptive_ranks ranks{reducer, {.every = 390}};
///     ranks.add(w);                                      // each matrix with a knob `rank`, on all ranks
///     ranks.before_step();                               // each step, right before average
///
/// - Order     before_step() before every `average`; after `rollback`, if there is one. All ranks add the same tensors in
///             the same order, and then need to tell one another nothing.
/// - Window    in the last `window` steps before an adjustment the tensors are watched with `watch_options::signals`: a
///             dense all-reduce of each, which `statistics::control_bytes` counts. In other steps nothing is measured.
///             A step that failed or was rolled back does not count; one that was repeated counts once.
/// - Observer  a tensor has one: the window replaces the user's and ends with none. One that the user sets inside the
///             window stays, and the tensor is then not seen until the next.
/// - Knobs     an adjustment sets `rank` where it changes, and so ends a schedule that the rank followed. Ranks that the
///             user or `load` set are read before each adjustment. Memories and the columns that both ranks have stay.
/// - Restart   the reducer's checkpoint has the ranks, `save` the sums of a window and the defaults. Without the latter
///             what a window had seen is missed, on all ranks alike; add with the default rank then, where the reducer's
///             `load` came first and the rank may be another.
/// - Cost      4 bytes an element, 8 in the window; inside it a dense all-reduce and some 6 passes a step; an adjustment
///             as of `l_greco`. Allocates at both ends of the window and in an adjustment.
/// - Lifetime  it ends before the reducer does. Neither copied nor moved.
/// - Source    as `l_greco`.
template <class Exec>
class adaptive_ranks {
  using tensor = typename reducer<Exec>::tensor;
  /// What the observer saw last; gone as soon as the reducer drops the observer, and with it the sum.
  struct seen {
    std::uint64_t step = 0;
    std::span<float const> sum;
  };
  struct watched {
    tensor handle;
    std::weak_ptr<seen> last;
  };
  reducer<Exec>& reducer_;
  l_greco<Exec> planner_;
  std::vector<watched> tensors_;  // by the planner's numbers
  bool watching_ = false;

 public:
  explicit adaptive_ranks(reducer<Exec>& of, l_greco_options const& options = {}, Exec exec = {})
      : reducer_(of), planner_(options, std::move(exec)) {}
  adaptive_ranks(adaptive_ranks const&) = delete;
  adaptive_ranks& operator=(adaptive_ranks const&) = delete;
  ~adaptive_ranks() { watch(false); }

  /// A tensor whose method has a knob `rank`, and its default: by default the rank that it has. Throws
  /// `configuration_error` where there is no such knob, and for a tensor that was added before.
  void add(tensor t, int by_default = 0) {
    auto const now = rank_now(t);
    auto const d = reducer_.dims(t);
    for (auto const& other : tensors_)
      if (other.handle.index == t.index)
        throw configuration_error("adaptive_ranks: tensor '" + reducer_.name(t) + "' was added before");
    planner_.add(reducer_.name(t), d.rows, d.cols, by_default == 0 ? now : by_default, now);
    tensors_.push_back({t, {}});
  }

  /// Reads what the last step showed, sets ranks where they are due, and watches or ceases to.
  void before_step() {
    auto const step = reducer_.step_number();
    for (std::size_t i = 0; i < tensors_.size(); ++i)
      if (auto const sum = unread(tensors_[i]); !sum.empty()) planner_.observe(i, step - 1, sum);
    forget();
    if (planner_.adjusts(step))
      for (std::size_t i = 0; i < tensors_.size(); ++i) planner_.set_rank(i, rank_now(tensors_[i].handle));
    for (auto const& c : planner_.adjust(step)) reducer_.set(tensors_[c.tensor].handle, "rank", c.after);
    watch(planner_.wants(step));
  }

  /// Writes this rank's window, what the last step showed included, between steps and beside what the reducer saves; in
  /// another stream, since the reducer's `load` reads to the end of its own.
  void save(std::ostream& to) const {
    std::vector<std::span<float const>> sums;
    for (auto const& t : tensors_) sums.push_back(unread(t));
    planner_.write(to, here(), sums);
  }
  /// Reads what `save` wrote on this rank number of a world of this size, when the same tensors were added in the same
  /// order and the reducer has loaded what it saved then. Defaults are those of the one that saved; choices go on bit
  /// for bit. All or nothing; throws `state_error`.
  void load(std::istream& from) {
    planner_.read(from, here());
    forget();
  }

  /// Ranks, budgets and what the last adjustment came to.
  [[nodiscard]] l_greco<Exec> const& planner() const noexcept { return planner_; }

 private:
  [[nodiscard]] checkpoint::header here() const {
    return {static_cast<std::uint32_t>(reducer_.rank()), static_cast<std::uint32_t>(reducer_.size()),
            reducer_.step_number(), reducer_.seed()};
  }
  /// The sum of the last step, if it stands and the planner has not been told of it.
  [[nodiscard]] std::span<float const> unread(watched const& t) const {
    auto const last = t.last.lock();
    if (last == nullptr || last->step + 1 != reducer_.step_number()) return {};
    return last->sum;
  }
  void forget() {
    for (auto const& t : tensors_)
      if (auto const last = t.last.lock()) last->sum = {};
  }
  [[nodiscard]] int rank_now(tensor t) const {
    int rank = 0;  // which the planner refuses
    static_cast<void>(detail::read_knob(reducer_.knob(t, "rank"), rank));
    return rank;
  }
  void watch(bool wanted) {
    if (std::exchange(watching_, wanted) == wanted) return;
    for (auto& t : tensors_) {
      if (!wanted) {
        if (!t.last.expired()) reducer_.watch(t.handle, nullptr);
        continue;
      }
      auto const last = std::make_shared<seen>();
      reducer_.watch(t.handle, [last](measurement const& m) { *last = {m.step, m.sum}; }, {.signals = true});
      t.last = last;
    }
  }
};

}  // namespace gradpress
