// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// From the gradient to the values that are sent: signal, coefficients, selection.

#include <gradpress/compressor.hpp>
#include <gradpress/kernel/forming.hpp>
#include <gradpress/kernel/sparse.hpp>

namespace gradpress {

/// By a fused hook where one fits, else stage by stage. Same bits.
template <class Exec, class M>
void tensor_coder<Exec, M>::prepare(context const& ctx, in<Exec> g) {
  if constexpr (fuses_select || fuses_form) {
    select_while_making(ctx, g);
  } else if constexpr (fuses_quantize) {
    a = c = x = rest;  // filled by write()
  } else {
    project(ctx, g);
    select(ctx, g);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::select_while_making(context const& ctx, in<Exec> g) {
  auto const signal = view<Exec>(rest), sent = view<Exec>(values);
  if constexpr (fuses_select) {
    auto const e = in<Exec>(use.feedback.addend(memory));
    detail::require(selector(ctx).select_sum(ctx, g, e, signal, kept, sent));
  } else {
    auto const form = use.feedback.form(ctx, g, memory);
    detail::require(selector(ctx).select_formed(ctx, kernel::forming(form), signal, kept, sent));
  }
  a = c = rest;
  x = part(values, 0, kept.count);
}

/// In the first round the signal; in each, its coefficients.
template <class Exec, class M>
void tensor_coder<Exec, M>::project(context const& ctx, in<Exec> g) {
  auto const round = ctx.phase / steps;
  if constexpr (fuses_project)
    if (round == 0) return project_while_making(ctx, g);
  if (round == 0) a = use.feedback.compensate(ctx, g, memory, rest);
  if constexpr (!direct)
    if (round == 0) detail::require_finite(ctx, a);
  c = use.projector.project(ctx, dims, round, a, basis, part(coefficients, 0, direct ? 0 : count_of(ctx.phase)));
  if constexpr (!direct) detail::require_finite(ctx, c);
}

template <class Exec, class M>
void tensor_coder<Exec, M>::project_while_making(context const& ctx, in<Exec> g) {
  auto const e = in<Exec>(use.feedback.addend(memory));
  auto const signal = view<Exec>(rest), to = view<Exec>(coefficients);
  auto const finite = [&] {
    if constexpr (defers)
      if (debt.owed)
        return use.projector.project_owed(ctx, dims, g, e, in<Exec>(debt.basis), in<Exec>(debt.factor), signal, basis,
                                          to);
    return use.projector.project_sum(ctx, dims, g, e, signal, basis, to);
  };
  detail::require(finite());
  a = rest;
  c = part(coefficients, 0, count_of(ctx.phase));
  detail::require_finite(ctx, c);
}

template <class Exec, class M>
void tensor_coder<Exec, M>::select(context const& ctx, [[maybe_unused]] in<Exec> g) {
  if constexpr (dense) {
    kept.count = c.extent(0);
    x = c;
  } else if constexpr (leading<S>) {
    if (detail::is_leader(use.selector, ctx))
      choose(ctx);
    else if constexpr (direct)
      detail::require_finite(ctx, c);
  } else if constexpr (writes_values<S>) {
    if constexpr (wants_fresh<S>)
      detail::require(selector(ctx).select_fresh(ctx, a, g, kept, view<Exec>(values)));
    else
      detail::require(selector(ctx).select_values(ctx, c, kept, view<Exec>(values)));
    x = part(values, 0, kept.count);
  } else {
    choose(ctx);
    take_values(ctx);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::choose(context const& ctx) {
  if constexpr (std::same_as<decltype(selector(ctx).select(ctx, c, kept)), bool>) {
    detail::require(selector(ctx).select(ctx, c, kept));
  } else {
    if constexpr (direct) detail::require_finite(ctx, c);
    selector(ctx).select(ctx, c, kept);
  }
}

/// What lies where the selection says.
template <class Exec, class M>
void tensor_coder<Exec, M>::take_values(context const& ctx) {
  kernel::gather(ctx.exec, c.data(), kept.indices.data(), kept.count, values.data());
  x = part(values, 0, kept.count);
}

}  // namespace gradpress
