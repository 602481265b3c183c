// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: compress the change of the gradient against what the others already know of it.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/feedback/mirrored.hpp>
#include <gradpress/kernel/dense.hpp>

#include <utility>

namespace gradpress {

/// EF21: every rank keeps G_i, an estimate of its own gradient, and the mirror G = mean of all G_i, which is the
/// update. The signal is g - G_i; what is delivered of it moves G_i, the mean of it moves G.
///
/// - Shape   G_i and G, and one spare of each: four floats an element with the coder's buffer.
/// - Law     mirrored: G equals the mean of the G_i (to rounding), and is equal bit for bit on all ranks.
/// - Start   both zero, so the first update is the compressed gradient alone.
/// - Lost messages would part G from the G_i for ever; every message is checked and no rank commits alone.
/// - Source  Richtarik, Sokolov, Fatkhullin, EF21, NeurIPS 2021, algorithm 2. Differs: starts from C(g) and not from g.
struct ef21 {
  using family = family::feedback;
  static constexpr std::string_view name = "ef21";
  static constexpr memory_law law = memory_law::mirrored;
  /// `keep` reads the gradient as it was handed in.
  static constexpr bool keeps_gradient = true;

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
    kernel::sub(ctx.exec, g.data(), rest.data(), rest.data(), g.extent(0));  // G_i + delivered = g - rest
    std::swap(s.mine, rest);
  }
  template <class Exec, class State>
  void apply(step<Exec> const& ctx, view<Exec> update, State& s) const {
    s.move_by(ctx, update);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    s.undo(rest);
  }
};

static_assert(explain_feedback<ef21>());

}  // namespace gradpress
