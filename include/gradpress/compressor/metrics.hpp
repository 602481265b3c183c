// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What metrics ask of a tensor: its signal, and how much of it no message holds.

#include <gradpress/compressor.hpp>
#include <gradpress/kernel/norm.hpp>

namespace gradpress {

template <class Exec, class M>
void tensor_coder<Exec, M>::signal(context const& ctx, in<Exec> g, view<Exec> out) {
  settle(ctx);
  auto const whole = use.feedback.compensate(ctx, g, memory, out);
  if (whole.data() != out.data()) kernel::copy(ctx.exec, whole.data(), whole.extent(0), out.data());
}

template <class Exec, class M>
double tensor_coder<Exec, M>::left_behind(context const& ctx, bytes<Exec> message) {
  auto const n = dims.size();
  if (dense_now) return 0;
  auto const partial = ctx.template scratch<double>(kernel::dense_chunks(n));
  if constexpr (direct && has_memory) {
    return kernel::norm(ctx.exec, rest.data(), n, partial.data());  // my contribution has left it already
  } else {
    auto const left = ctx.scratch(n);
    if constexpr (direct) {
      kernel::copy(ctx.exec, a.data(), n, left.data());
      add_own(ctx, message, -1.f, left);
      return kernel::norm(ctx.exec, left.data(), n, partial.data());
    } else {
      auto mine = view<Exec>(own);
      if constexpr (!has_memory) {
        mine = ctx.scratch(count_of(ctx.phase));
        kernel::fill_zero(ctx.exec, mine.data(), mine.extent(0));
        add_own(ctx, message, 1.f, mine);
      }
      auto const delivered = use.projector.lift(ctx, dims, in<Exec>(mine), basis, left);
      return kernel::distance(ctx.exec, a.data(), 1, delivered.data(), n, partial.data());
    }
  }
}

}  // namespace gradpress
