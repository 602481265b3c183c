// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: what was not delivered is added to the next gradient.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/kernel/dense.hpp>

#include <utility>

namespace gradpress {

/// a = g + e; after the step e = a - (what was really delivered of a).
///
/// - Shape   e: one float an element, and one buffer of the same size that the step writes into.
/// - Units   those of the gradient: the learning rate is applied after decoding. With a changing rate the old residual
///           is in old units; a slow schedule does not notice.
/// - Cost    12 bytes an element where a fused hook exists (read g and e, write a); the commit swaps two buffers.
/// - Law     additive: the sum over ranks of a equals P times the update plus the sum of e.
/// - Source  Seide et al., Interspeech 2014; Karimireddy et al., Error Feedback Fixes SignSGD, ICML 2019, algorithm 2.
///           Differs: gradient units, and delivery instead of the compressor's output, so that exchanges which drop or
///           re-encode stay exact.
struct error_feedback {
  using family = family::feedback;
  static constexpr std::string_view name = "error_feedback";
  static constexpr memory_law law = memory_law::additive;
  static constexpr bool may_owe = true;

  template <class Exec>
  struct state {
    buffer<Exec> residual;
    state(error_feedback const&, step<Exec> const& ctx, shape d)
        : residual(kernel::zeros(ctx.exec, "gradpress::residual", d.size())) {}
    template <class V>
    void visit(V&& v) {
      v("residual", residual);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    kernel::add(ctx.exec, g.data(), s.residual.data(), room.data(), g.extent(0));
    return room;
  }
  template <class State>
  auto const& addend(State& s) const {
    return s.residual;
  }
  template <class Exec, class State>
  void keep(step<Exec> const&, in<Exec>, buffer<Exec>& rest, State& s) const {
    std::swap(s.residual, rest);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::swap(s.residual, rest);
  }
};

static_assert(explain_feedback<error_feedback>());

}  // namespace gradpress
