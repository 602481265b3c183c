// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: PowerSGD. Two factors of rank r in place of a matrix.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/orthonormalise.hpp>
#include <gradpress/project/factors.hpp>

#include <algorithm>
#include <utility>

namespace gradpress {

/// Round 0 sends P_i = a_i Q; the mean is orthonormalised. Round 1 sends Q_i = a_i^T P; the update is P (mean Q)^T.
///
/// - Shape     rows x cols in; rows r, then cols r coefficients out; r = min(rank, rows, cols).
/// - Whole     a tensor travels as it is in the first `start` steps, and always if the factors would not be smaller by
///             `minimum_rate`: vectors, at the default of 1. 0 never sends it whole.
/// - State     Q, kept between steps (warm start), equal on all ranks; begins as uniform numbers of the shared key,
///             which are the same bits on every machine (only the span matters). Another rank keeps the columns that
///             both have, and draws the rest.
/// - Memory    local rule: this rank delivered P Q_i^T. Same trajectory as the published global rule in exact
///             arithmetic, smaller residuals, and right behind any quantizer. `memory_rule::global` is for comparisons,
///             and acts in `error_feedback` alone.
/// - Cost      three passes over memory with error feedback: 12, 4 and 12 bytes an element, and 2 r (rows + cols)
///             numbers sent. Each further iteration: 8 bytes an element and two rounds more.
/// - Edges     a factor column that vanished (a gradient of zeros) is drawn anew from the shared key, or warm start
///             would never leave zero again; statistics count these.
/// - Bias      biased: use it with a memory. Exact in one step if the mean has rank r.
/// - Source    Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, algorithms 1 and 2. Differs: local memory rule,
///             dead-factor guard. With a quantizer both factors are coded, and P is orthonormalised after decoding
///             (LQ-SGD). `start` and `minimum_rate` as PyTorch's hook, whose defaults are 1000 and 2.
struct low_rank {
  int rank = 2;
  int iterations = 1;  ///< of the power method a step
  std::uint64_t start = 0;
  double minimum_rate = 1;
  memory_rule memory = memory_rule::local;

  using family = family::projector;
  static constexpr std::string_view name = "low_rank";
  static constexpr auto knobs =
      std::tuple{knob{"rank", &low_rank::rank}, knob{"iterations", &low_rank::iterations, shown::if_changed},
                 knob{"start", &low_rank::start, shown::if_changed},
                 knob{"minimum_rate", &low_rank::minimum_rate, shown::if_changed},
                 knob{"memory", &low_rank::memory, shown::if_changed}};
  static constexpr int rounds = 2;
  static constexpr bool linear = true;

  template <class Exec>
  struct state {
    buffer<Exec> factor, previous;  // Q; the one before it for a rollback, and inside a step that of an iteration
    buffer<Exec> basis;             // orthonormal P, alive inside one step
    std::size_t redrawn = 0;        // columns in the last commit
    state(low_rank const& p, step<Exec> const& ctx, shape d)
        : factor(unwritten<Exec>("gradpress::factor", p.coefficients(d, 1))),
          previous(kernel::zeros(ctx.exec, "gradpress::factor", p.coefficients(d, 1))),
          basis(kernel::zeros(ctx.exec, "gradpress::basis", p.coefficients(d, 0))) {
      detail::draw_factor<Exec>(factor, ctx.shared(purpose::start));
    }
    template <class V>
    void visit(V&& v) {
      v("factor", factor);
    }
    void undo() { std::swap(factor, previous); }
    void carry_over(step<Exec> const&, low_rank const&, shape d, state const& old) {
      detail::carry_columns<Exec>(old.factor, factor, d.cols);
    }
  };

  void check() const {
    detail::check_rank(name, rank);
    detail::check_rate(name, minimum_rate);
    if (iterations < 1 || iterations > 8)
      throw configuration_error("low_rank: iterations must lie in 1..8, they are " + std::to_string(iterations));
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept { return detail::factor_width(rank, d); }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int round) const noexcept {
    return (round % 2 == 0 ? d.rows : d.cols) * width(d);
  }
  template <class Exec, class State>
  course begin(step<Exec> const& ctx, shape d, State&) const {
    return {.rounds = 2 * iterations, .whole = ctx.number < start || detail::factors_do_not_pay(rank, d, minimum_rate)};
  }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int round, in<Exec> a, State& s, view<Exec> room) const {
    auto const r = width(d);
    auto* const w = work(ctx, d);
    if (round % 2 == 0)
      kernel::multiply(ctx.exec, a.data(), d.rows, d.cols, (round == 0 ? s.factor : s.previous).data(), r, w,
                       room.data());
    else
      kernel::multiply_transposed(ctx.exec, a.data(), d.rows, d.cols, s.basis.data(), r, w, room.data());
    return room;
  }
  template <class Exec, class State>
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State& s,
                   view<Exec> room) const {
    return kernel::multiply_sum(ctx.exec, g.data(), e.data(), a.data(), d.rows, d.cols, s.factor.data(), width(d),
                                work(ctx, d), room.data());
  }
  template <class Exec, class State>
  void accept(step<Exec> const& ctx, shape d, int round, in<Exec> mean, State& s) const {
    if (round % 2 == 1) return kernel::copy(ctx.exec, mean.data(), mean.extent(0), s.previous.data());
    kernel::copy(ctx.exec, mean.data(), mean.extent(0), s.basis.data());
    detail::orthonormalise_factor<Exec>(ctx, s.basis, d.rows, width(d));
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State& s, view<Exec> room) const {
    kernel::outer(ctx.exec, s.basis.data(), c.data(), d.rows, d.cols, width(d), work(ctx, d), room.data());
    return room;
  }
  template <class Exec, class State>
  void lift_both(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, view<Exec> g,
                 view<Exec> a) const {
    auto const delivered = memory == memory_rule::local ? own : mean;
    kernel::outer_and_subtract(ctx.exec, s.basis.data(), mean.data(), delivered.data(), d.rows, d.cols, width(d),
                               work(ctx, d), g.data(), a.data());
  }
  [[nodiscard]] std::pair<std::size_t, std::size_t> owes(shape d) const noexcept {
    return {coefficients(d, 0), coefficients(d, 1)};
  }
  template <class Exec, class State>
  void owe(step<Exec> const& ctx, shape, in<Exec> mean, in<Exec> own, State& s, buffer<Exec> const& P,
           buffer<Exec> const& Q) const {
    auto const delivered = memory == memory_rule::local ? own : mean;
    kernel::copy(ctx.exec, s.basis.data(), P.extent(0), P.data());
    kernel::copy(ctx.exec, delivered.data(), Q.extent(0), Q.data());
  }
  template <class Exec, class State>
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q, view<Exec> a,
                    State& s, view<Exec> room) const {
    return kernel::multiply_sum_owed(ctx.exec, g.data(), e.data(), P.data(), Q.data(), a.data(), d.rows, d.cols,
                                     s.factor.data(), width(d), work(ctx, d), room.data());
  }
  template <class Exec>
  void settle(step<Exec> const& ctx, shape d, in<Exec> P, in<Exec> Q, view<Exec> e) const {
    kernel::outer_subtract(ctx.exec, P.data(), Q.data(), d.rows, d.cols, width(d), work(ctx, d), e.data());
  }
  template <class Exec, class State>
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    kernel::copy(ctx.exec, mean.data(), mean.extent(0), s.previous.data());
    s.redrawn = detail::revive_columns<Exec>(s.previous, width(d), ctx.shared(purpose::start));
    std::swap(s.factor, s.previous);
  }

 private:
  template <class Exec>
  std::byte* work(step<Exec> const& ctx, shape d) const {
    return ctx.template scratch<std::byte>(kernel::low_rank_workspace(d.rows, d.cols, width(d))).data();
  }
};

static_assert(explain_projector<low_rank>());

}  // namespace gradpress
