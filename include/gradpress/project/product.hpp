// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What projectors share that lift to a product P Q^T of thin factors, rows x r and cols x r, and keep neither.

#include <gradpress/core/memory.hpp>
#include <gradpress/core/step.hpp>
#include <gradpress/kernel/low_rank.hpp>

namespace gradpress::detail {

template <class Exec>
std::byte* product_work(step<Exec> const& ctx, shape d, std::size_t r) {
  return ctx.template scratch<std::byte>(kernel::low_rank_workspace(d.rows, d.cols, r)).data();
}

/// out = P Q^T.
template <class Exec>
void lift_product(step<Exec> const& ctx, shape d, std::size_t r, float const* P, float const* Q, view<Exec> out) {
  kernel::outer(ctx.exec, P, Q, d.rows, d.cols, r, product_work(ctx, d, r), out.data());
}

/// e -= P Q^T: the bits of `lift_product` and a subtraction, in one pass.
template <class Exec>
void subtract_product(step<Exec> const& ctx, shape d, std::size_t r, in<Exec> P, in<Exec> Q, view<Exec> e) {
  kernel::outer_subtract(ctx.exec, P.data(), Q.data(), d.rows, d.cols, r, product_work(ctx, d, r), e.data());
}

/// a = g + (e - P Q^T) in one pass, the bits of `subtract_product` and a sum; is it finite? The product of a with Q, which
/// comes with that pass, is thrown away.
template <class Exec>
bool sum_less_product(step<Exec> const& ctx, shape d, std::size_t r, in<Exec> g, in<Exec> e, in<Exec> P, in<Exec> Q,
                      view<Exec> a) {
  return kernel::multiply_sum_owed(ctx.exec, g.data(), e.data(), P.data(), Q.data(), a.data(), d.rows, d.cols, Q.data(),
                                   r, product_work(ctx, d, r), ctx.scratch(d.rows * r).data());
}

}  // namespace gradpress::detail
