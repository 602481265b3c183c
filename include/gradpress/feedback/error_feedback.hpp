// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: what was not delivered is added to the next gradient.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/dense.hpp>

#include <array>
#include <utility>

namespace gradpress {

/// In which units a residual stays the same when the learning rate changes.
enum class residual_units {
  gradient,  ///< those of the gradient: it then moves the model by another step
  model      ///< those of the model: it moves the model by the same step
};
constexpr std::array<std::string_view, 2> names_of(residual_units) { return {"gradient", "model"}; }

/// a = g + e; after the step e = decay (a - what was really delivered of a).
///
/// - Shape   e: one float an element, and one buffer of the same size that the step writes into.
/// - Units   the learning rate is applied after decoding. With units `model` e is multiplied by the old rate over the new
///           one when `reducer.learning_rate` changes it; with `gradient` it stays, and a slow schedule does not notice.
/// - Cost    at most 12 bytes an element (read g and e, write a) more than without, but behind some
///           projectors; the commit swaps two buffers. A decay costs 8 in the commit, a change of the rate 12, in that step.
/// - Law     additive: the sum over ranks of a equals P times the update plus the sum of e. With a decay it equals P times
///           the update plus the sum of e / decay: the rest is forgotten.
/// - Source  Seide et al., Interspeech 2014; Karimireddy et al., Error Feedback Fixes SignSGD, ICML 2019, algorithm 2;
///           the change of units: Zheng, Huang, Kwok, NeurIPS 2019, algorithm 2. Differs: delivery instead of the
///           compressor's output, so that exchanges which drop or re-encode stay exact.
struct error_feedback {
  double decay = 1;  ///< of what was not delivered, how much is kept; in [0, 1]
  residual_units units = residual_units::gradient;

  using family = family::feedback;
  static constexpr std::string_view name = "error_feedback";
  static constexpr auto knobs = std::tuple{knob{"decay", &error_feedback::decay, shown::if_changed},
                                           knob{"units", &error_feedback::units, shown::if_changed}};
  static constexpr memory_law law = memory_law::additive;
  [[nodiscard]] bool may_owe() const { return decay == 1; }
  [[nodiscard]] bool in_model_units() const { return units == residual_units::model; }

  void check() const {
    if (!(decay >= 0) || !(decay <= 1))
      throw configuration_error("error_feedback: decay must lie in [0, 1], it is " + std::to_string(decay));
  }

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
  void keep(step<Exec> const& ctx, in<Exec>, buffer<Exec>& rest, State& s) const {
    if (decay != 1) kernel::scale_copy(ctx.exec, rest.data(), rest.extent(0), static_cast<float>(decay), rest.data());
    std::swap(s.residual, rest);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::swap(s.residual, rest);
  }
  template <class Exec, class State>
  bool rescale(step<Exec> const& ctx, float ratio, State& s) const {
    auto* const e = s.residual.data();
    auto const n = s.residual.extent(0);
    auto const top = kernel::max_abs(ctx.exec, e, n, ctx.scratch(kernel::dense_chunks(n)).data());
    if (!std::isfinite(top * ratio)) return false;
    kernel::scale_copy(ctx.exec, e, n, ratio, e);
    return true;
  }
};

static_assert(explain_feedback<error_feedback>());

}  // namespace gradpress
