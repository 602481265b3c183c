// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: products with a random thin matrix that all ranks share.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/project/product.hpp>

#include <algorithm>
#include <cmath>

namespace gradpress {

/// Sends P_i = a_i U with entries +-1/sqrt(r) of U from the shared key, new in each step; the update is (mean P) U^T.
///
/// - Shape     rows x cols in; rows r coefficients out, row-major; r = min(rank, cols). The columns are what is
///             projected: an n x 1 vector is sent whole.
/// - Sums      linear: an all-reduce adds the coefficients.
/// - Cost      a read of a, a write of the update, and 2 cols r random bits; rows r numbers sent.
/// - Edges     rank >= cols sends the elements themselves. U depends on nothing but seed, step and tensor: nothing is
///             kept, and a rank lifts what others sent even if it did not project.
/// - Bias      none: E U U^T = 1. The variance is |a|^2 (cols - 1) / r, much more than that of other methods with as
///             many bytes: use a smaller rate of learning, and no memory.
/// - Source    Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, the unbiased baseline. Differs: signs in place of
///             normal numbers. They have the same mean, the variance (cols - 1) / r instead of (cols + 1) / r, and the
///             same bits on every machine.
struct random_projection {
  int rank = 2;

  using family = family::projector;
  static constexpr std::string_view name = "random_projection";
  static constexpr auto knobs = std::tuple{knob{"rank", &random_projection::rank}};
  static constexpr int rounds = 1;
  static constexpr bool linear = true;

  void check() const {
    if (rank < 1 || rank > 32)
      throw configuration_error("random_projection: rank must lie in 1..32, it is " + std::to_string(rank));
  }
  [[nodiscard]] constexpr std::size_t width(shape d) const noexcept {
    return std::min(static_cast<std::size_t>(std::max(rank, 0)), d.cols);
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept { return d.rows * width(d); }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int, in<Exec> a, State&, view<Exec> room) const {
    kernel::multiply(ctx.exec, a.data(), d.rows, d.cols, draw(ctx, d), width(d), detail::product_work(ctx, d, width(d)),
                     room.data());
    return room;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State&, view<Exec> room) const {
    detail::lift_product(ctx, d, width(d), c.data(), draw(ctx, d), room);
    return room;
  }

  // What a memory owes is my own product and the matrix of its step.

  template <class Exec, class State>
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State&,
                   view<Exec> room) const {
    return kernel::multiply_sum(ctx.exec, g.data(), e.data(), a.data(), d.rows, d.cols, draw(ctx, d), width(d),
                                detail::product_work(ctx, d, width(d)), room.data());
  }
  [[nodiscard]] std::pair<std::size_t, std::size_t> owes(shape d) const noexcept {
    return {d.rows * width(d), d.cols * width(d)};
  }
  template <class Exec, class State>
  void owe(step<Exec> const& ctx, shape d, in<Exec>, in<Exec> own, State&, buffer<Exec> const& P,
           buffer<Exec> const& Q) const {
    kernel::copy(ctx.exec, own.data(), P.extent(0), P.data());
    kernel::copy(ctx.exec, draw(ctx, d), Q.extent(0), Q.data());
  }
  template <class Exec, class State>
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q, view<Exec> a,
                    State&, view<Exec> room) const {
    return kernel::multiply_sum_owed(ctx.exec, g.data(), e.data(), P.data(), Q.data(), a.data(), d.rows, d.cols,
                                     draw(ctx, d), width(d), detail::product_work(ctx, d, width(d)), room.data());
  }
  template <class Exec>
  void settle(step<Exec> const& ctx, shape d, in<Exec> P, in<Exec> Q, view<Exec> e) const {
    detail::subtract_product(ctx, d, width(d), P, Q, e);
  }

 private:
  /// U, cols x r. The key is that of phase 0, where coefficients are computed; they are lifted in a later one.
  template <class Exec>
  float const* draw(step<Exec> const& ctx, shape d) const {
    auto const r = width(d);
    auto const U = ctx.template scratch<float>(d.cols * r);
    if (r == d.cols) {
      for (std::size_t i = 0; i < U.extent(0); ++i) U(i) = i % (r + 1) == 0 ? 1.f : 0.f;
      return U.data();
    }
    auto first = ctx;
    first.phase = first.part = 0;
    auto const k = first.shared(purpose::start);
    float const one = 1 / std::sqrt(static_cast<float>(r));
    kernel::for_ranges(ctx.exec, "gradpress::project::random_projection", U.extent(0), 65536,
                       [&](std::size_t from, std::size_t end) {
                         std::uint64_t bits = 0;
                         for (auto i = from; i < end; ++i, bits >>= 1) {
                           if (i % 64 == 0) bits = k.bits(i / 64);
                           U(i) = (bits & 1) != 0 ? -one : one;
                         }
                       });
    return U.data();
  }
};

static_assert(explain_projector<random_projection>());

}  // namespace gradpress
