// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: the best approximation of low rank of each rank's own matrix.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/svd.hpp>
#include <gradpress/project/product.hpp>

#include <algorithm>

namespace gradpress {

/// Sends U S and V of the r largest singular values of a_i, and lifts to U S V^T.
///
/// - Shape     rows x cols in; r (rows + cols) coefficients out, rows x r of U S and then cols x r of V, both
///             row-major; r = min(rank, rows, cols). A vector is sent whole, and one number more: send it dense.
/// - Order     singular values descend.
/// - Sums      not linear: factors of different ranks have nothing in common, so that each is lifted before the mean.
/// - Cost      for min(rows, cols) <= 64 an SVD through Gram's matrix, 7 ms for 64 x 4096 at most; else eleven reads of
///             a (subspace iteration): 0.2 s for 4096 x 6250 at rank 2.
/// - Edges     zeros where a has lower rank. The random start of the iteration is this rank's own key's: reproducible.
/// - Bias      biased: a contraction by 1 - r / min(rows, cols) at least. Use it with a memory. Exact if a has rank r.
///             On large matrices whose singular values hardly fall, the error is up to 1 % above the best one.
/// - Source    Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, the baseline "best approximation". Differs: large
///             matrices by randomised subspace iteration, Halko, Martinsson, Tropp, SIAM Review 2011.
struct svd {
  int rank = 2;

  using family = family::projector;
  static constexpr std::string_view name = "svd";
  static constexpr auto knobs = std::tuple{knob{"rank", &svd::rank}};
  static constexpr int rounds = 1;
  static constexpr bool linear = false;
  /// The shorter side up to which all singular values are computed.
  static constexpr std::size_t small = 64;

  void check() const {
    if (rank < 1 || rank > 32) throw configuration_error("svd: rank must lie in 1..32, it is " + std::to_string(rank));
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept {
    return std::min({static_cast<std::size_t>(std::max(rank, 0)), d.rows, d.cols});
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept { return width(d) * (d.rows + d.cols); }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int, in<Exec> a, State&, view<Exec> room) const {
    auto const r = width(d), m = std::min(d.rows, d.cols);
    auto *const left = room.data(), *const right = left + d.rows * r;
    if (m > small) {
      auto const work = ctx.template scratch<std::byte>(kernel::top_right_singular_workspace(d.rows, d.cols, r));
      kernel::top_right_singular(ctx.exec, a.data(), d.rows, d.cols, r, ctx.own(purpose::start), work.data(), right);
      kernel::multiply(ctx.exec, a.data(), d.rows, d.cols, right, r, detail::product_work(ctx, d, r), left);
      return room;
    }
    auto const work = ctx.template scratch<std::byte>(
        std::max(kernel::svd_small_workspace(d.rows, d.cols), kernel::singular_pair_workspace(d.rows, d.cols)));
    auto const values = ctx.template scratch<double>(m), vectors = ctx.template scratch<double>(m * m);
    kernel::svd_small(ctx.exec, a.data(), d.rows, d.cols, work.data(), values.data(), vectors.data());
    for (std::size_t j = 0; j < r; ++j)
      kernel::singular_pair(ctx.exec, a.data(), d.rows, d.cols, vectors.data() + j * m, 1., work.data(), left + j,
                            right + j, r);
    return room;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State&, view<Exec> room) const {
    detail::lift_product(ctx, d, width(d), c.data(), c.data() + d.rows * width(d), room);
    return room;
  }

  // What a memory owes is my own two factors.

  template <class Exec, class State>
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State& state,
                   view<Exec> room) const {
    if (!kernel::add(ctx.exec, g.data(), e.data(), a.data(), d.size())) return false;
    project(ctx, d, 0, in<Exec>(a), state, room);
    return true;
  }
  [[nodiscard]] std::pair<std::size_t, std::size_t> owes(shape d) const noexcept {
    return {d.rows * width(d), d.cols * width(d)};
  }
  template <class Exec, class State>
  void owe(step<Exec> const& ctx, shape d, in<Exec>, in<Exec> own, State&, buffer<Exec> const& P,
           buffer<Exec> const& Q) const {
    kernel::copy(ctx.exec, own.data(), P.extent(0), P.data());
    kernel::copy(ctx.exec, own.data() + d.rows * width(d), Q.extent(0), Q.data());
  }
  template <class Exec, class State>
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q, view<Exec> a,
                    State& state, view<Exec> room) const {
    if (!detail::sum_less_product(ctx, d, width(d), g, e, P, Q, a)) return false;
    project(ctx, d, 0, in<Exec>(a), state, room);
    return true;
  }
  template <class Exec>
  void settle(step<Exec> const& ctx, shape d, in<Exec> P, in<Exec> Q, view<Exec> e) const {
    detail::subtract_product(ctx, d, width(d), P, Q, e);
  }
};

static_assert(explain_projector<svd>());

}  // namespace gradpress
