// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The whole signal as floats that add up, in steps in which compression does not pay.

#include <gradpress/compressor.hpp>

namespace gradpress {

template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::write_signal(context const& ctx, in<Exec> g, bytes<Exec> out) {
  auto const n = dims.size();
  settle(ctx);
  auto const signal = empty ? g : use.feedback.compensate(ctx, g, memory, rest);
  detail::require_finite(ctx, signal);
  kernel::copy(ctx.exec, signal.data(), n, as<float>(part(out, 0, 4 * n)).data());
  if (has_memory && !empty) kernel::fill_zero(ctx.exec, rest.data(), n);  // all of it is delivered
  return 4 * n;
}

template <class Exec, class M>
void tensor_coder<Exec, M>::commit_signal(context const& ctx, view<Exec> g, arrival<Exec> arrived) {
  unkept = empty;
  renewed = false;
  was_whole = true;
  if constexpr (defers)
    if (!empty) std::swap(debt, old_debt), debt.owed = false;
  if (!empty) keep(ctx, g);
  empty = has_addend;
  kernel::divide_copy(ctx.exec, as<float const>(arrived.messages[0]).data(), g.extent(0), static_cast<float>(ctx.world),
                      g.data());
  if constexpr (hears_of_whole) use.projector.commit_whole(ctx, dims, in<Exec>(g), basis);
  if constexpr (requires { use.feedback.apply(ctx, g, memory); }) use.feedback.apply(ctx, g, memory);
}

}  // namespace gradpress
