// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: what was not delivered, and the momentum that it would have gathered (Deep Gradient Compression).

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/momentum.hpp>
#include <gradpress/kernel/norm.hpp>

#include <utility>

namespace gradpress {

/// Every rank runs the momentum itself, before the compressor, and accumulates what the momentum would have moved:
///
///     c = clip(g)      u' = mu u + c      a = v + u'      v = a - delivered      u = u', or 0 where a was delivered
///
/// - Shape   v and u, and a spare of u: four floats an element with the coder's buffer.
/// - Units   those of the gradient. The optimizer must not add momentum of its own.
/// - Nesterov  u' = mu (u + c), a = v + u' + c.
/// - Masking forgets the momentum of an entry as soon as anything of it was delivered, so that stale momentum does not
///           carry on. Where everything is delivered in each step, nothing is left of momentum: that is plain SGD. Set it
///           off while a method is dense, as in a warm-up.
/// - Clip    scales this rank's gradient of this tensor down to an L2 norm of at most clip / sqrt(P); 0: off.
/// - Cost    20 bytes an element for the signal, which a selector can make while it selects; 12 for the mask, 16 with
///           nesterov, but none of it behind a selector.
/// - Law     additive: the sum over ranks of a equals P times the update plus the sum of v.
/// - Edges   density 1 without masking is momentum SGD, bit for bit.
/// - Source  Lin, Han, Mao, Wang, Dally, Deep Gradient Compression, ICLR 2018, sections 3.1 to 3.3 and algorithm 1.
///           Differs: "delivered" is what the others received, so that coded values and exchanges that drop stay exact;
///           the norm is that of a tensor, or group, and not of the model.
struct momentum_correction {
  double momentum = 0.9;  ///< mu, in [0, 1)
  bool nesterov = false;
  double clip = 0;  ///< largest L2 norm of a gradient, times sqrt(P); 0: no limit
  bool masking = true;

  using family = family::feedback;
  static constexpr std::string_view name = "momentum_correction";
  static constexpr auto knobs =
      std::tuple{knob{"momentum", &momentum_correction::momentum}, knob{"nesterov", &momentum_correction::nesterov},
                 knob{"clip", &momentum_correction::clip}, knob{"masking", &momentum_correction::masking}};
  static constexpr memory_law law = memory_law::additive;
  /// `keep` reads the gradient as it was handed in.
  static constexpr bool keeps_gradient = true;

  void check() const {
    if (!(momentum >= 0) || !(momentum < 1))
      throw configuration_error("momentum_correction: momentum must lie in [0, 1), it is " + std::to_string(momentum));
    if (!(clip >= 0) || !std::isfinite(clip))
      throw configuration_error("momentum_correction: clip must be a norm, or 0 for none; it is " +
                                std::to_string(clip));
  }

  template <class Exec>
  struct state {
    buffer<Exec> residual, momentum, next;  // next: tentative until the commit, then what a rollback brings back
    float scale = 1;                        // tentative: of the gradient that the last signal was made of
    state(momentum_correction const&, step<Exec> const& ctx, shape d)
        : residual(kernel::zeros(ctx.exec, "gradpress::residual", d.size())),
          momentum(kernel::zeros(ctx.exec, "gradpress::momentum", d.size())),
          next(kernel::zeros(ctx.exec, "gradpress::next_momentum", d.size())) {}
    template <class V>
    void visit(V&& v) {
      v("residual", residual);
      v("momentum", momentum);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    kernel::form_all(ctx.exec, "gradpress::feedback::momentum_correction", form(ctx, g, s), room.data(), g.extent(0));
    return room;
  }
  template <class Exec, class State>
  auto form(step<Exec> const& ctx, in<Exec> g, State& s) const {
    s.scale = scale_of(ctx, g);
    return kernel::momentum_form(pass(g.data(), s), s.next.data(), g.extent(0));
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    if (masking) kernel::momentum_mask(ctx.exec, pass(g.data(), s), rest.data(), s.next.data(), g.extent(0));
    undo(rest, s);  // a swap either way
  }
  template <class Exec, class State>
  void keep_at(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, in<Exec, index_t> at, State& s) const {
    if (masking)
      kernel::momentum_mask_at(ctx.exec, pass(g.data(), s), rest.data(), at.data(), at.extent(0), s.next.data());
    undo(rest, s);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::swap(s.residual, rest);
    std::swap(s.momentum, s.next);
  }

 private:
  template <class State>
  kernel::momentum_pass pass(float const* g, State const& s) const {
    return {g, s.momentum.data(), s.residual.data(), static_cast<float>(momentum), s.scale, nesterov};
  }
  /// A norm that is not finite leaves a signal that is not, which the next stage refuses.
  template <class Exec>
  float scale_of(step<Exec> const& ctx, in<Exec> g) const {
    if (clip == 0) return 1;
    auto const partial = ctx.template scratch<double>(kernel::dense_chunks(g.extent(0)));
    auto const size = kernel::norm(ctx.exec, g.data(), g.extent(0), partial.data());
    auto const limit = clip / std::sqrt(static_cast<double>(ctx.world));
    return size > limit ? static_cast<float>(limit / size) : 1.f;
  }
};

static_assert(explain_feedback<momentum_correction>());

}  // namespace gradpress
