// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: PowerSGD's two factors in turn, one a step.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/project/factors.hpp>

#include <utility>

namespace gradpress {

/// Even steps send P_i = a_i Q with the columns of Q orthonormal, and the update is (mean P) Q^T; odd steps send
/// Q_i = a_i^T P with those of P orthonormal, and the update is P (mean Q)^T. The mean, orthonormalised, is what the next
/// step projects on.
///
/// - Shape     rows x cols in; rows r coefficients out in an even step, cols r in an odd one; r = min(rank, rows, cols).
/// - Whole     a tensor travels as it is in the first `start` steps, and always if the two factors would not be smaller
///             by `minimum_rate`: vectors, at the default of 1. 0 never sends it whole.
/// - State     the factor that the next step projects on, and whose turn it is, counted in this tensor's own steps. Equal
///             to the bit on all ranks, since it comes from means that are, and starts from the shared key; the update
///             is a product with it, so replicas would part otherwise. Another rank keeps the columns that both have.
/// - Memory    local: this rank delivered P_i Q^T, or P Q_i^T.
/// - Cost      one exchange a step, and half the bytes of `low_rank`; with error feedback 16 bytes an element in an even
///             step, 20 in an odd one: what leaves the memory is owed, as there.
/// - Edges     columns that vanish, or depend on others, are drawn anew from the shared key and made orthonormal to the
///             rest; statistics count these.
/// - Bias      biased: use it with a memory. A constant mean of rank r is exact from the second step on.
/// - Source    Zhang, Zhang, Shi, Chu, Li, ACP-SGD, ICDCS 2023; Vogels, Karimireddy, Jaggi, PowerGossip, NeurIPS 2020,
///             algorithm 2. Differs: the start is drawn from a shared key and not left to the caller; dead-factor guard.
struct alternating_low_rank {
  int rank = 2;
  std::uint64_t start = 0;
  double minimum_rate = 1;

  using family = family::projector;
  static constexpr std::string_view name = "alternating_low_rank";
  static constexpr auto knobs = std::tuple{
      knob{"rank", &alternating_low_rank::rank}, knob{"start", &alternating_low_rank::start, shown::if_changed},
      knob{"minimum_rate", &alternating_low_rank::minimum_rate, shown::if_changed}};
  static constexpr int rounds = 1;
  static constexpr bool linear = true;

  template <class Exec>
  struct state {
    buffer<Exec> right, left;          // Q and P; the one that the next step projects on is orthonormal
    buffer<Exec> old_right, old_left;  // for a rollback
    buffer<Exec> turn;                 // 0: the next step sends P; 1: it sends Q
    std::size_t redrawn = 0;
    state(alternating_low_rank const& p, step<Exec> const& ctx, shape d)
        : right(unwritten<Exec>("gradpress::factor", d.cols * p.width(d))),
          left(kernel::zeros(ctx.exec, "gradpress::factor", d.rows * p.width(d))),
          old_right(kernel::zeros(ctx.exec, "gradpress::factor", d.cols * p.width(d))),
          old_left(kernel::zeros(ctx.exec, "gradpress::factor", d.rows * p.width(d))),
          turn(kernel::zeros(ctx.exec, "gradpress::turn", 1)) {
      detail::draw_factor<Exec>(right, ctx.shared(purpose::start));
      complete(ctx, right, p.width(d), ctx.shared(purpose::start));
    }
    [[nodiscard]] bool sends_right() const { return turn(0) != 0.f; }
    template <class V>
    void visit(V&& v) {
      v("right", right), v("left", left), v("turn", turn);
    }
    void undo() {
      turn(0) = 1.f - turn(0);
      if (sends_right())
        std::swap(right, old_right);
      else
        std::swap(left, old_left);
    }
    void carry_over(step<Exec> const& ctx, alternating_low_rank const& p, shape d, state const& old) {
      detail::carry_columns<Exec>(old.right, right, d.cols);
      detail::carry_columns<Exec>(old.left, left, d.rows);
      turn(0) = old.turn(0);
      complete(ctx, sends_right() ? left : right, p.width(d), ctx.shared(purpose::start));
    }
  };

  void check() const {
    detail::check_rank(name, rank);
    detail::check_rate(name, minimum_rate);
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept { return detail::factor_width(rank, d); }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept {
    return std::max(d.rows, d.cols) * width(d);
  }
  template <class State>
  requires requires(State const& s) { s.sends_right(); }
  [[nodiscard]] std::size_t coefficients(shape d, int, State const& s) const {
    return (s.sends_right() ? d.cols : d.rows) * width(d);
  }
  template <class Exec, class State>
  course begin(step<Exec> const& ctx, shape d, State& s) const {
    s.redrawn = 0;
    return {.whole = ctx.number < start || detail::factors_do_not_pay(rank, d, minimum_rate)};
  }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int, in<Exec> a, State& s, view<Exec> room) const {
    auto const r = width(d);
    if (s.sends_right())
      kernel::multiply_transposed(ctx.exec, a.data(), d.rows, d.cols, s.left.data(), r, work(ctx, d), room.data());
    else
      kernel::multiply(ctx.exec, a.data(), d.rows, d.cols, s.right.data(), r, work(ctx, d), room.data());
    return room;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State& s, view<Exec> room) const {
    auto const [p, q] = factors(c.data(), s);
    kernel::outer(ctx.exec, p, q, d.rows, d.cols, width(d), work(ctx, d), room.data());
    return room;
  }
  template <class Exec, class State>
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State& s,
                   view<Exec> room) const {
    // In an odd step the product with Q is thrown away: the sum and its check come with it in one pass.
    auto const finite = kernel::multiply_sum(ctx.exec, g.data(), e.data(), a.data(), d.rows, d.cols, s.right.data(),
                                             width(d), work(ctx, d), product_room(ctx, d, s, room));
    if (s.sends_right()) project(ctx, d, 0, in<Exec>(a), s, room);
    return finite;
  }
  template <class Exec, class State>
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q, view<Exec> a,
                    State& s, view<Exec> room) const {
    auto const finite =
        kernel::multiply_sum_owed(ctx.exec, g.data(), e.data(), P.data(), Q.data(), a.data(), d.rows, d.cols,
                                  s.right.data(), width(d), work(ctx, d), product_room(ctx, d, s, room));
    if (s.sends_right()) project(ctx, d, 0, in<Exec>(a), s, room);
    return finite;
  }
  [[nodiscard]] std::pair<std::size_t, std::size_t> owes(shape d) const noexcept {
    return {d.rows * width(d), d.cols * width(d)};
  }
  template <class Exec, class State>
  void owe(step<Exec> const& ctx, shape d, in<Exec>, in<Exec> own, State& s, buffer<Exec> const& P,
           buffer<Exec> const& Q) const {
    auto const [p, q] = factors(own.data(), s);
    kernel::copy(ctx.exec, p, d.rows * width(d), P.data());
    kernel::copy(ctx.exec, q, d.cols * width(d), Q.data());
  }
  template <class Exec>
  void settle(step<Exec> const& ctx, shape d, in<Exec> P, in<Exec> Q, view<Exec> e) const {
    kernel::outer_subtract(ctx.exec, P.data(), Q.data(), d.rows, d.cols, width(d), work(ctx, d), e.data());
  }
  template <class Exec, class State>
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    auto& to = s.sends_right() ? s.right : s.left;
    std::swap(to, s.sends_right() ? s.old_right : s.old_left);
    kernel::copy(ctx.exec, mean.data(), mean.extent(0), to.data());
    s.redrawn = complete(ctx, to, width(d), ctx.shared(purpose::start));
    s.turn(0) = 1.f - s.turn(0);
  }

 private:
  /// Orthonormal columns, those that depend on others drawn anew; how many.
  template <class Exec>
  static std::size_t complete(step<Exec> const& ctx, buffer<Exec> const& f, std::size_t r, key k) {
    if (f.extent(0) == 0) return 0;
    auto const rows = f.extent(0) / r;
    detail::orthonormalise_factor<Exec>(ctx, f, rows, r);
    auto const dead = detail::revive_columns<Exec>(f, r, k);
    if (dead > 0) detail::orthonormalise_factor<Exec>(ctx, f, rows, r);
    return dead;
  }
  /// Which factor c is, and the other.
  template <class State>
  static std::pair<float const*, float const*> factors(float const* c, State const& s) {
    if (s.sends_right()) return {s.left.data(), c};
    return {c, s.right.data()};
  }
  template <class Exec, class State>
  float* product_room(step<Exec> const& ctx, shape d, State const& s, view<Exec> room) const {
    return s.sends_right() ? ctx.scratch(d.rows * width(d)).data() : room.data();
  }
  template <class Exec>
  std::byte* work(step<Exec> const& ctx, shape d) const {
    return ctx.template scratch<std::byte>(kernel::low_rank_workspace(d.rows, d.cols, width(d))).data();
  }
};

static_assert(explain_projector<alternating_low_rank>());

}  // namespace gradpress
