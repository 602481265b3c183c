// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What of a tensor's state leaves the step: to checkpoints, and to whoever looks at a memory.

#include <gradpress/compressor.hpp>

namespace gradpress {

template <class Exec, class M>
void tensor_coder<Exec, M>::visit(context const& ctx, visitor const& v) {
  settle(ctx);
  empty = false;  // whoever visits may write
  names_apart<Exec> apart(v);
  basis.visit(apart.of(Pr::name));
  memory.visit(apart.of(F::name));
  rate.visit(use.feedback, apart);
  meeting.visit(apart.of(X::name));
  choice.visit(apart.of(S::name));
}

template <class Exec, class M>
buffer<Exec> tensor_coder<Exec, M>::residual([[maybe_unused]] context const& ctx) {
  if constexpr (has_addend) {
    settle(ctx);
    empty = false;  // whoever has it may write
    return use.feedback.addend(memory);
  }
  return {};
}

template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::redrawn() const {
  if constexpr (requires { basis.redrawn; }) return dense_now ? 0 : basis.redrawn;
  return 0;
}

}  // namespace gradpress
