// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: PowerSGD+. PowerSGD whose basis comes from a singular value decomposition every few steps.

#include <gradpress/kernel/svd.hpp>
#include <gradpress/project/low_rank.hpp>

namespace gradpress {

/// Every `every`-th step of a tensor, the first included, the signal travels whole, and the leading right singular vectors
/// of its mean become the Q from which the steps between, those of `low_rank`, go on.
///
/// - Shape, rank, `minimum_rate`, `memory`   as `low_rank`.
/// - State     that of `low_rank`, and the steps since the last refresh, counted in this tensor's own steps.
/// - Memory    empty after a refresh, whose mean is applied as it is: all of the signal was there.
/// - Cost      a refresh sends rows cols floats, which is rows cols / every a step, and reads the mean ten times, with
///             up to rank + 8 columns, on every rank; nobody waits for one rank's decomposition. Between, as `low_rank`.
/// - Replicas  equal to the bit even where Q differs in its last bits between machines: both factors that make the
///             update are means.
/// - Bias      biased: use it with a memory. Unlike PowerSGD it leaves a subspace that the gradient has left, or that
///             stochastic zeros have emptied.
/// - Source    Xie, Chen, Yuan, From PowerSGD to PowerSGD+, arXiv 2509.11254 (2025). Differs: the dense mean of a refresh
///             is the update; singular vectors by randomised subspace iteration (Halko, Martinsson, Tropp 2011) from a
///             shared key, which finds what an invariant subspace hides.
struct refreshed_low_rank {
  int rank = 2;
  int every = 50;  ///< steps
  double minimum_rate = 1;
  memory_rule memory = memory_rule::local;

  using family = family::projector;
  static constexpr std::string_view name = "refreshed_low_rank";
  static constexpr auto knobs =
      std::tuple{knob{"rank", &refreshed_low_rank::rank}, knob{"every", &refreshed_low_rank::every},
                 knob{"minimum_rate", &refreshed_low_rank::minimum_rate, shown::if_changed},
                 knob{"memory", &refreshed_low_rank::memory, shown::if_changed}};
  static constexpr int rounds = 2;
  static constexpr bool linear = true;

  template <class Exec>
  struct state : low_rank::state<Exec> {
    using base = low_rank::state<Exec>;
    buffer<Exec> age;  // steps since the last refresh; 0: one is due
    float old_age = 0;
    state(refreshed_low_rank const& p, step<Exec> const& ctx, shape d)
        : base(p.between(), ctx, d), age(kernel::zeros(ctx.exec, "gradpress::age", 1)) {}
    template <class V>
    void visit(V&& v) {
      base::visit(v);
      v("age", age);
    }
    void undo() {
      base::undo();
      age(0) = old_age;
    }
    void carry_over(step<Exec> const& ctx, refreshed_low_rank const& p, shape d, state const& old) {
      base::carry_over(ctx, p.between(), d, old);
      age(0) = old.age(0);
    }
    /// A step stands, which was a refresh or not.
    void grow_older(bool refreshed) {
      old_age = age(0);
      age(0) = refreshed ? 1.f : old_age + 1.f;
    }
  };

  void check() const {
    between().check();
    if (every < 1 || every > (1 << 24))
      throw configuration_error("refreshed_low_rank: every must lie in 1..2^24 steps, it is " + std::to_string(every));
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int round) const noexcept {
    return between().coefficients(d, round);
  }
  template <class Exec, class State>
  course begin(step<Exec> const&, shape d, State& s) const {
    s.redrawn = 0;
    return {.rounds = 2, .whole = too_small(d) || s.age(0) == 0.f || s.age(0) >= static_cast<float>(every)};
  }
  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int round, in<Exec> a, State& s, view<Exec> room) const {
    return between().project(ctx, d, round, a, s, room);
  }
  template <class Exec, class State>
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State& s,
                   view<Exec> room) const {
    return between().project_sum(ctx, d, g, e, a, s, room);
  }
  template <class Exec, class State>
  void accept(step<Exec> const& ctx, shape d, int round, in<Exec> mean, State& s) const {
    between().accept(ctx, d, round, mean, s);
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State& s, view<Exec> room) const {
    return between().lift(ctx, d, c, s, room);
  }
  template <class Exec, class State>
  void lift_both(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, view<Exec> g,
                 view<Exec> a) const {
    between().lift_both(ctx, d, mean, own, s, g, a);
  }
  [[nodiscard]] std::pair<std::size_t, std::size_t> owes(shape d) const noexcept { return between().owes(d); }
  template <class Exec, class State>
  void owe(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, buffer<Exec> const& P,
           buffer<Exec> const& Q) const {
    between().owe(ctx, d, mean, own, s, P, Q);
  }
  template <class Exec, class State>
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q, view<Exec> a,
                    State& s, view<Exec> room) const {
    return between().project_owed(ctx, d, g, e, P, Q, a, s, room);
  }
  template <class Exec>
  void settle(step<Exec> const& ctx, shape d, in<Exec> P, in<Exec> Q, view<Exec> e) const {
    between().settle(ctx, d, P, Q, e);
  }
  template <class Exec, class State>
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    between().commit(ctx, d, mean, s);
    s.grow_older(false);
  }
  template <class Exec, class State>
  void commit_whole(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    auto const r = between().width(d);
    auto const work = ctx.template scratch<std::byte>(kernel::top_right_singular_workspace(d.rows, d.cols, r));
    if (too_small(d))
      kernel::copy(ctx.exec, s.factor.data(), s.factor.extent(0), s.previous.data());
    else
      kernel::top_right_singular(ctx.exec, mean.data(), d.rows, d.cols, r, ctx.shared(purpose::start), work.data(),
                                 s.previous.data());
    std::swap(s.factor, s.previous);
    s.grow_older(true);
  }

 private:
  [[nodiscard]] constexpr low_rank between() const noexcept {
    return {.rank = rank, .minimum_rate = minimum_rate, .memory = memory};
  }
  [[nodiscard]] constexpr bool too_small(shape d) const noexcept {
    return detail::factors_do_not_pay(rank, d, minimum_rate);
  }
};

static_assert(explain_projector<refreshed_low_rank>());

}  // namespace gradpress
