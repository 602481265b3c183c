// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: none of what is not delivered; every rank sends a momentum of its own gradients.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/blend.hpp>

#include <utility>

namespace gradpress {

/// The signal is an average over time of this rank's gradients, m = beta m + (1 - beta) g; what is not delivered of it is
/// forgotten, and nothing of this rank's own is decoded.
///
/// - Shape   m and a spare of it: two floats an element, and no buffer of the coder.
/// - Units   beta is a pure number; the average reaches back about 1 / (1 - beta) steps. The optimizer should add no
///           momentum of its own.
/// - Cost    12 bytes an element.
/// - Law     none: m does not depend on what was delivered.
/// - Start   zero, so the first signals are short: (1 - beta) g. Signs do not notice.
/// - Edges   beta = 0 is no memory at all, bit for bit.
/// - Source  Bernstein, Wang, Azizzadenesheli, Anandkumar, signSGD, ICML 2018, algorithm 2 (Signum); Bernstein, Zhao,
///           Azizzadenesheli, Anandkumar, signSGD with majority vote, ICLR 2019, algorithm 1, for many ranks.
struct local_momentum {
  double beta = 0.9;  ///< weight of the average so far; in [0, 1)

  using family = family::feedback;
  static constexpr std::string_view name = "local_momentum";
  static constexpr auto knobs = std::tuple{knob{"beta", &local_momentum::beta}};
  static constexpr memory_law law = memory_law::none;

  void check() const {
    if (!(beta >= 0) || !(beta < 1))
      throw configuration_error("local_momentum: beta must lie in [0, 1), it is " + std::to_string(beta));
  }

  template <class Exec>
  struct state {
    buffer<Exec> momentum, next;  // next: tentative until the commit, then what a rollback brings back
    state(local_momentum const&, step<Exec> const& ctx, shape d)
        : momentum(kernel::zeros(ctx.exec, "gradpress::momentum", d.size())),
          next(kernel::zeros(ctx.exec, "gradpress::next_momentum", d.size())) {}
    template <class V>
    void visit(V&& v) {
      v("momentum", momentum);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec>) const {
    kernel::blend(ctx.exec, static_cast<float>(1 - beta), s.momentum.data(), g.data(), s.next.data(), g.extent(0));
    return s.next;
  }
  template <class Exec, class State>
  void apply(step<Exec> const&, view<Exec>, State& s) const {
    std::swap(s.momentum, s.next);
  }
  template <class Rest, class State>
  void undo(Rest&, State& s) const {
    std::swap(s.momentum, s.next);
  }
};

static_assert(explain_feedback<local_momentum>());

}  // namespace gradpress
