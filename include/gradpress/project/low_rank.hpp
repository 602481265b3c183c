// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: PowerSGD. Two factors of rank r in place of a matrix.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/orthonormalise.hpp>

#include <algorithm>
#include <utility>

namespace gradpress {

/// Round 0 sends P_i = a_i Q; the mean is orthonormalised. Round 1 sends Q_i = a_i^T P; the update is P (mean Q)^T.
///
/// - Shape     rows x cols in; rows r, then cols r coefficients out; r = min(rank, rows, cols). A vector has rank 1 and
///             saves nothing: send it dense.
/// - State     Q, kept between steps (warm start), equal on all ranks; begins as uniform numbers of the shared key,
///             which are the same bits on every machine (only the span matters).
/// - Memory    local rule: this rank delivered P Q_i^T. Same trajectory as the published global rule in exact
///             arithmetic, smaller residuals, and right behind any quantizer.
/// - Cost      three passes over memory with error feedback: 12, 4 and 12 bytes an element, and 2 r (rows + cols)
///             numbers sent.
/// - Edges     a factor column that vanished (a gradient of zeros) is drawn anew from the shared key, or warm start
///             would never leave zero again.
/// - Bias      biased: use it with a memory. Exact in one step if the mean has rank r.
/// - Source    Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, algorithms 1 and 2. Differs: local memory rule,
///             dead-factor guard. With a quantizer both factors are coded, and P is orthonormalised after decoding
///             (LQ-SGD).
struct low_rank {
  int rank = 2;

  using family = family::projector;
  static constexpr std::string_view name = "low_rank";
  static constexpr auto knobs = std::tuple{knob{"rank", &low_rank::rank}};
  static constexpr int rounds = 2;
  static constexpr bool linear = true;

  template <class Exec>
  struct state {
    buffer<Exec> factor, previous;  // Q, and the one before it for a rollback
    buffer<Exec> basis;             // orthonormal P, alive inside one step
    state(low_rank const& p, step<Exec> const& ctx, shape d)
        : factor(unwritten<Exec>("gradpress::factor", p.coefficients(d, 1))),
          previous(kernel::zeros(ctx.exec, "gradpress::factor", p.coefficients(d, 1))),
          basis(kernel::zeros(ctx.exec, "gradpress::basis", p.coefficients(d, 0))) {
      auto const k = ctx.shared(purpose::start);
      for (std::size_t i = 0; i < factor.extent(0); ++i) factor(i) = k.uniform(i) - 0.5f;
    }
    template <class V>
    void visit(V&& v) {
      v("factor", factor);
    }
    void undo() { std::swap(factor, previous); }
  };

  void check() const {
    if (rank < 1 || rank > 32)
      throw configuration_error("low_rank: rank must lie in 1..32, it is " + std::to_string(rank));
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept {
    return std::min({static_cast<std::size_t>(std::max(rank, 0)), d.rows, d.cols});
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int round) const noexcept {
    return (round == 0 ? d.rows : d.cols) * width(d);
  }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int round, in<Exec> a, State& s, view<Exec> room) const {
    auto const r = width(d);
    auto* const w = work(ctx, d);
    if (round == 0)
      kernel::multiply(ctx.exec, a.data(), d.rows, d.cols, s.factor.data(), r, w, room.data());
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
  void accept(step<Exec> const& ctx, shape d, int, in<Exec> mean, State& s) const {
    auto const r = width(d);
    kernel::copy(ctx.exec, mean.data(), mean.extent(0), s.basis.data());
    auto const room = ctx.template scratch<std::byte>(kernel::orthonormalise_workspace(d.rows, r));
    kernel::orthonormalise(ctx.exec, s.basis.data(), d.rows, r, room.data());
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State& s, view<Exec> room) const {
    kernel::outer(ctx.exec, s.basis.data(), c.data(), d.rows, d.cols, width(d), work(ctx, d), room.data());
    return room;
  }
  template <class Exec, class State>
  void lift_both(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, view<Exec> g,
                 view<Exec> a) const {
    kernel::outer_and_subtract(ctx.exec, s.basis.data(), mean.data(), own.data(), d.rows, d.cols, width(d),
                               work(ctx, d), g.data(), a.data());
  }
  template <class Exec, class State>
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    auto const r = width(d);
    auto const fresh = ctx.shared(purpose::start);
    kernel::copy(ctx.exec, mean.data(), mean.extent(0), s.previous.data());
    for (std::size_t j = 0; j < r; ++j) {
      bool alive = false;
      for (std::size_t i = 0; i < d.cols && !alive; ++i) alive = mean(i * r + j) != 0.f;
      for (std::size_t i = 0; i < d.cols && !alive; ++i) s.previous(i * r + j) = fresh.uniform(i * r + j) - 0.5f;
    }
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
