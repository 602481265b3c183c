// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: PowerSGD whose basis comes, every few steps, from the sum of the ranks' Gram matrices.

#include <gradpress/project/refreshed_low_rank.hpp>

namespace gradpress {

namespace detail {
/// G = M^T M, cols x cols, 32 columns at a time.
template <class Exec>
void gram_matrix(step<Exec> const& ctx, float const* M, shape d, float* G) {
  constexpr std::size_t most = 32;
  auto const width = std::min(most, d.cols);
  auto const columns = ctx.scratch(d.rows * width), product = ctx.scratch(d.cols * width);
  auto const work = ctx.template scratch<std::byte>(kernel::low_rank_workspace(d.rows, d.cols, width));
  for (std::size_t from = 0; from < d.cols; from += most) {
    auto const r = std::min(most, d.cols - from);
    for (std::size_t i = 0; i < d.rows; ++i) std::copy_n(M + i * d.cols + from, r, columns.data() + i * r);
    kernel::multiply_transposed(ctx.exec, M, d.rows, d.cols, columns.data(), r, work.data(), product.data());
    for (std::size_t i = 0; i < d.cols; ++i) std::copy_n(product.data() + i * r, r, G + i * d.cols + from);
  }
}
}  // namespace detail

/// As `refreshed_low_rank`, but a refresh sends a_i^T a_i, cols x cols, in a round before the two of the step. The leading
/// eigenvectors of the mean become Q.
///
/// - Shape     a refresh has three rounds: cols cols, rows r and cols r coefficients; another step the last two.
/// - Subspace  that of all ranks' signals one below the other, not of their mean: what differs between ranks and cancels in
///             the mean counts, too. Where ranks' noise is large, the other form is the better one.
/// - Cost      rows cols^2 products on every rank, and cols^2 floats: less than the matrix where it has more rows than
///             columns.
/// - State, memory, bias   as `refreshed_low_rank`; a refresh is compressed like any other step.
/// - Source    a form of PowerSGD+ seen in programs that cite Xie, Chen, Yuan, arXiv 2509.11254 (2025); not the published one.
struct gram_refreshed_low_rank {
  int rank = 2;
  int every = 50;  ///< steps
  double minimum_rate = 1;
  memory_rule memory = memory_rule::local;

  using family = family::projector;
  static constexpr std::string_view name = "gram_refreshed_low_rank";
  static constexpr auto knobs = std::tuple{
      knob{"rank", &gram_refreshed_low_rank::rank}, knob{"every", &gram_refreshed_low_rank::every},
      knob{"minimum_rate", &gram_refreshed_low_rank::minimum_rate}, knob{"memory", &gram_refreshed_low_rank::memory}};
  static constexpr int rounds = 3;
  static constexpr bool linear = true;

  template <class Exec>
  struct state : refreshed_low_rank::state<Exec> {
    using base = refreshed_low_rank::state<Exec>;
    bool due = true;  // in the step that began
    state(gram_refreshed_low_rank const& p, step<Exec> const& ctx, shape d) : base(p.dense_form(), ctx, d) {}
    void carry_over(step<Exec> const& ctx, gram_refreshed_low_rank const& p, shape d, state const& old) {
      base::carry_over(ctx, p.dense_form(), d, old);
    }
  };

  void check() const {
    between().check();
    if (every < 1 || every > (1 << 24))
      throw configuration_error("gram_refreshed_low_rank: every must lie in 1..2^24 steps, it is " +
                                std::to_string(every));
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int round) const noexcept {
    return round == 0 ? d.cols * d.cols : between().coefficients(d, round - 1);
  }
  template <class State>
  requires requires(State const& s) { s.due; }
  [[nodiscard]] std::size_t coefficients(shape d, int round, State const& s) const {
    return coefficients(d, s.due ? round : round + 1);
  }
  template <class Exec, class State>
  course begin(step<Exec> const&, shape d, State& s) const {
    s.redrawn = 0;
    s.due = s.age(0) == 0.f || s.age(0) >= static_cast<float>(every);
    return {.rounds = s.due ? 3 : 2, .whole = detail::factors_do_not_pay(rank, d, minimum_rate)};
  }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int round, in<Exec> a, State& s, view<Exec> room) const {
    if (!s.due) return between().project(ctx, d, round, a, s, room);
    if (round > 0)
      return between().project(ctx, d, round + 1, a, s, room);  // as of a second iteration: from `previous`
    detail::gram_matrix(ctx, a.data(), d, room.data());
    return room;
  }
  template <class Exec, class State>
  void accept(step<Exec> const& ctx, shape d, int round, in<Exec> mean, State& s) const {
    if (!s.due || round > 0) return between().accept(ctx, d, 0, mean, s);
    auto const r = between().width(d);
    auto const work = ctx.template scratch<std::byte>(kernel::top_right_singular_workspace(d.cols, d.cols, r));
    kernel::top_right_singular(ctx.exec, mean.data(), d.cols, d.cols, r, ctx.shared(purpose::start), work.data(),
                               s.previous.data());
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
  template <class Exec, class State>
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    between().commit(ctx, d, mean, s);
    s.grow_older(s.due);
  }

 private:
  [[nodiscard]] constexpr low_rank between() const noexcept {
    return {.rank = rank, .minimum_rate = minimum_rate, .memory = memory};
  }
  [[nodiscard]] constexpr refreshed_low_rank dense_form() const noexcept {
    return {.rank = rank, .every = every, .minimum_rate = minimum_rate, .memory = memory};
  }
};

static_assert(explain_projector<gram_refreshed_low_rank>());

}  // namespace gradpress
