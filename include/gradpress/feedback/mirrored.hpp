// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What memories of the mirrored law keep of a tensor: my own estimate, and the mirror, the mean of all ranks' estimates.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/kernel/dense.hpp>

#include <utility>

namespace gradpress::detail {

/// Both start at zero. Of the mirror there is a spare, which holds it as it was before the last commit; of the estimate the
/// coder's buffer does.
template <class Exec>
struct mirrored {
  buffer<Exec> mine, mirror, spare;

  template <class F>
  mirrored(F const&, step<Exec> const& ctx, shape d)
      : mine(kernel::zeros(ctx.exec, "gradpress::mine", d.size())),
        mirror(kernel::zeros(ctx.exec, "gradpress::mirror", d.size())),
        spare(kernel::zeros(ctx.exec, "gradpress::spare", d.size())) {}
  template <class V>
  void visit(V&& v) {
    v("mine", mine);
    v("mirror", mirror);
  }
  /// The mirror moves by the update, and is the update from then on.
  void move_by(step<Exec> const& ctx, view<Exec> update) {
    kernel::add(ctx.exec, update.data(), mirror.data(), spare.data(), update.extent(0));
    kernel::copy(ctx.exec, spare.data(), update.extent(0), update.data());
    std::swap(mirror, spare);
  }
  template <class Rest>
  void undo(Rest& rest) {
    std::swap(mine, rest);
    std::swap(mirror, spare);
  }
};

}  // namespace gradpress::detail
