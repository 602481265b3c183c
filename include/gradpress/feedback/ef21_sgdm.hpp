// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: `ef21` of an average over time of the gradient, for gradients with noise.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/feedback/mirrored.hpp>
#include <gradpress/kernel/blend.hpp>

#include <utility>

namespace gradpress {

/// EF21-SGDM: every rank averages its gradients over time, v_i = (1 - eta) v_i + eta g_i, and keeps G_i, what the others
/// know of v_i; all keep the mirror G = mean of all G_i, which is the update. The signal is v_i - G_i; what is delivered
/// of it moves G_i, the mean of it moves G.
///
/// - Shape   v_i, G_i and G, a spare of v_i and one of G: six floats an element with the coder's buffer.
/// - Units   eta is a pure number; the average reaches back about 1 / eta steps.
/// - Law     mirrored: G equals the mean of the G_i (to rounding), and is equal bit for bit on all ranks.
/// - Start   all zero: the first updates are short, as those of a momentum without correction of its bias.
/// - Edges   eta = 1 is `ef21`, bit for bit.
/// - Momentum of the optimizer comes on top: it is meant to have none.
/// - Lost messages would part G from the G_i for ever; every message is checked and no rank commits alone.
/// - Source  Fatkhullin, Tyurin, Richtarik, Momentum Provably Improves Error Feedback!, NeurIPS 2023, algorithm 1.
///           Differs: v_i starts from 0, where the paper starts from a first gradient.
struct ef21_sgdm {
  double eta = 0.1;  ///< weight of the newest gradient; in (0, 1]

  using family = family::feedback;
  static constexpr std::string_view name = "ef21_sgdm";
  static constexpr auto knobs = std::tuple{knob{"eta", &ef21_sgdm::eta}};
  static constexpr memory_law law = memory_law::mirrored;
  /// `keep` reads the gradient as it was handed in.
  static constexpr bool keeps_gradient = true;

  void check() const {
    if (!(eta > 0) || !(eta <= 1))
      throw configuration_error("ef21_sgdm: eta must lie in (0, 1], it is " + std::to_string(eta));
  }

  template <class Exec>
  struct state : detail::mirrored<Exec> {
    buffer<Exec> average, spare_average;
    state(ef21_sgdm const& f, step<Exec> const& ctx, shape d)
        : detail::mirrored<Exec>(f, ctx, d),
          average(kernel::zeros(ctx.exec, "gradpress::average", d.size())),
          spare_average(kernel::zeros(ctx.exec, "gradpress::spare_average", d.size())) {}
    template <class V>
    void visit(V&& v) {
      v("average", average);
      detail::mirrored<Exec>::visit(v);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    kernel::blend_less(ctx.exec, weight(), s.average.data(), g.data(), s.mine.data(), room.data(), g.extent(0));
    return room;
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    auto const n = g.extent(0);
    kernel::blend(ctx.exec, weight(), s.average.data(), g.data(), s.spare_average.data(), n);
    kernel::sub(ctx.exec, s.spare_average.data(), rest.data(), rest.data(), n);  // G_i + delivered = v_i - rest
    std::swap(s.average, s.spare_average);
    std::swap(s.mine, rest);
  }
  template <class Exec, class State>
  void apply(step<Exec> const& ctx, view<Exec> update, State& s) const {
    s.move_by(ctx, update);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::swap(s.average, s.spare_average);
    s.undo(rest);
  }

 private:
  float weight() const { return static_cast<float>(eta); }
};

static_assert(explain_feedback<ef21_sgdm>());

}  // namespace gradpress
