// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: compress the difference to a shift that follows the gradient, for unbiased codes.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/feedback/mirrored.hpp>
#include <gradpress/kernel/blend.hpp>

#include <utility>

namespace gradpress {

/// DIANA: every rank keeps a shift h_i, and all keep h, the mean of the shifts. The signal is g - h_i; of what is
/// delivered of it the part alpha moves h_i, and of the mean the part alpha moves h. The update is the old h plus the
/// mean, so an unbiased code gives an unbiased update, and one whose noise dies out as h_i comes to the gradient.
///
/// - Shape   h_i and h, and one spare of each: four floats an element with the coder's buffer.
/// - Units   alpha is a pure number: at most 1 / (1 + omega), if omega |x|^2 bounds the variance of the code.
/// - Law     mirrored: h equals the mean of the h_i (to rounding), and is equal bit for bit on all ranks.
/// - Start   both zero, so the first update is the compressed gradient alone.
/// - Edges   alpha = 1 is `ef21`, bit for bit.
/// - Lost messages would part h from the h_i for ever; every message is checked and no rank commits alone.
/// - Source  Mishchenko, Gorbunov, Takac, Richtarik, Distributed Learning with Compressed Gradient Differences,
///           1901.09269, algorithm 1. Differs: any code, and no momentum of its own.
struct diana {
  double alpha = 0.1;  ///< of what was delivered, how much the shifts take on; in (0, 1]

  using family = family::feedback;
  static constexpr std::string_view name = "diana";
  static constexpr auto knobs = std::tuple{knob{"alpha", &diana::alpha}};
  static constexpr memory_law law = memory_law::mirrored;
  /// `keep` reads the gradient as it was handed in.
  static constexpr bool keeps_gradient = true;

  void check() const {
    if (!(alpha > 0) || !(alpha <= 1))
      throw configuration_error("diana: alpha must lie in (0, 1], it is " + std::to_string(alpha));
  }

  template <class Exec>
  struct state : detail::mirrored<Exec> {
    using detail::mirrored<Exec>::mirrored;
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    kernel::sub(ctx.exec, g.data(), s.mine.data(), room.data(), g.extent(0));
    return room;
  }
  template <class Exec, class State>
  auto form(step<Exec> const&, in<Exec> g, State& s) const {
    return kernel::difference_form{g.data(), s.mine.data()};
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    // h_i + alpha delivered, where h_i + delivered = g - rest.
    kernel::blend_difference(ctx.exec, share(), s.mine.data(), g.data(), rest.data(), rest.data(), g.extent(0));
    std::swap(s.mine, rest);
  }
  template <class Exec, class State>
  void apply(step<Exec> const& ctx, view<Exec> update, State& s) const {
    kernel::add(ctx.exec, update.data(), s.mirror.data(), update.data(), update.extent(0));
    kernel::blend(ctx.exec, share(), s.mirror.data(), update.data(), s.spare.data(), update.extent(0));
    std::swap(s.mirror, s.spare);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    s.undo(rest);
  }

 private:
  float share() const { return static_cast<float>(alpha); }
};

static_assert(explain_feedback<diana>());

}  // namespace gradpress
