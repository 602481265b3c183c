// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: singular triples drawn by their size and scaled up, with the least variance for a number of them.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/svd.hpp>
#include <gradpress/kernel/systematic.hpp>
#include <gradpress/project/product.hpp>

#include <algorithm>

namespace gradpress {

/// Of a_i = sum of sigma_l u_l v_l^T, sends (sigma_l / p_l) u_l and v_l of s drawn l. Of all p with the sum s, those of
/// least variance: p_l = min(1, sigma_l / level).
///
/// - Shape     rows x cols in; s (rows + cols) coefficients out, rows x s and then cols x s, both row-major;
///             s = min(budget, rows, cols).
/// - Order     singular values descend. Unused places are zeros, behind the others.
/// - Sums      not linear: each rank draws its own, which are lifted before the mean.
/// - Cost      all singular values: m = min(rows, cols) is at most 512, which takes 2 s; 7 ms for 64 x 4096, 0.25 s for
///             256 x 4096. And a read of a for each atom drawn.
/// - Edges     a matrix of rank s or less is sent whole. Values at most 2^-23 of the largest count as zero: a matrix of
///             floats does not hold them.
/// - Bias      none; the variance is the sum of sigma_l^2 (1 / p_l - 1). Use it without a memory.
/// - Source    Wang, Sievert, Liu, Charles, Papailiopoulos, Wright, ATOMO, NeurIPS 2018, with singular triples as
///             atoms. Differs: systematic sampling (Madow 1949) with one random number, so that the size is fixed. Its
///             probabilities are the same, hence it is unbiased; and so is the variance, for atoms are orthogonal and
///             the errors of different ones do not meet, whether they are independent or not.
struct spectral_atomo {
  int budget = 2;  ///< atoms sent, 1..32

  using family = family::projector;
  static constexpr std::string_view name = "spectral_atomo";
  static constexpr auto knobs = std::tuple{knob{"budget", &spectral_atomo::budget}};
  static constexpr int rounds = 1;
  static constexpr bool linear = false;
  static constexpr std::size_t longest_side = 512;  ///< of the shorter ones
  static constexpr double negligible = 0x1p-23;

  void check() const {
    if (budget < 1 || budget > 32)
      throw configuration_error("spectral_atomo: budget must lie in 1..32, it is " + std::to_string(budget));
  }
  void check(shape d) const {
    if (std::min(d.rows, d.cols) > longest_side)
      throw configuration_error("spectral_atomo: a matrix of " + std::to_string(d.rows) + " x " +
                                std::to_string(d.cols) + " has too many singular values; the shorter side must be " +
                                std::to_string(longest_side) + " at most");
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept {
    return std::min({static_cast<std::size_t>(std::max(budget, 0)), d.rows, d.cols});
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept { return width(d) * (d.rows + d.cols); }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int, in<Exec> a, State&, view<Exec> room) const {
    auto const s = width(d), m = std::min(d.rows, d.cols);
    auto *const left = room.data(), *const right = left + d.rows * s;
    auto const work = ctx.template scratch<std::byte>(
        std::max(kernel::svd_small_workspace(d.rows, d.cols), kernel::singular_pair_workspace(d.rows, d.cols)));
    auto const vectors = ctx.template scratch<double>(m * m);
    auto const values = ctx.template scratch<double>(m), p = ctx.template scratch<double>(m);
    auto const drawn = ctx.template scratch<std::size_t>(s);
    kernel::svd_small(ctx.exec, a.data(), d.rows, d.cols, work.data(), values.data(), vectors.data());
    for (std::size_t l = m; l-- > 0;)
      if (values(l) <= negligible * values(0)) values(l) = 0;
    kernel::fill_water(values.data(), m, s, p.data());
    auto const u = kernel::fraction(ctx.own(purpose::support).bits(0));
    auto const count = kernel::draw_systematic(p.data(), m, u, s, drawn.data());
    std::fill_n(left, coefficients(d, 0), 0.f);
    for (std::size_t j = 0; j < count; ++j) {
      auto const l = drawn(j);
      kernel::singular_pair(ctx.exec, a.data(), d.rows, d.cols, vectors.data() + l * m, 1 / p(l), work.data(), left + j,
                            right + j, s);
    }
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

static_assert(explain_projector<spectral_atomo>());

}  // namespace gradpress
