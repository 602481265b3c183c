// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The learning rate that a memory in units of the model is for.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/kernel/dense.hpp>

#include <string>
#include <utility>

namespace gradpress::detail {

/// Of a memory that cannot be in such units: nothing.
template <class Exec, class F>
class memory_rate {
  buffer<Exec> rate;      // 0 before the first
  float old_rate = 0;     // the same of what a rollback brings back
  float wanted_rate = 0;  // as the program has it now

 public:
  explicit memory_rate(Exec const& exec) {
    if constexpr (can_follow_rate<F>) rate = kernel::zeros(exec, "gradpress::rate", 1);
  }
  [[nodiscard]] static bool in_model_units([[maybe_unused]] F const& f) {
    if constexpr (can_follow_rate<F>) return f.in_model_units();
    return false;
  }
  void want(float now) { wanted_rate = now; }
  /// " at the learning rate 0.1", where that matters.
  [[nodiscard]] std::string text(F const& f) const {
    if (!in_model_units(f)) return {};
    auto const now = wanted_rate == 0 ? rate(0) : wanted_rate;
    return now == 0 ? "" : " at the learning rate " + knob_text(now);
  }

  /// The first thing of a step: is the memory to be brought into other units? Throws `configuration_error`.
  [[nodiscard]] bool changes([[maybe_unused]] F const& f) {
    if constexpr (can_follow_rate<F>) {
      if (in_model_units(f) && wanted_rate == 0 && rate(0) == 0)
        throw configuration_error(
            "a memory in units of the model needs the learning rate; call "
            "reducer.learning_rate(rate) before average");
      if (!in_model_units(f))
        rate(0) = wanted_rate;
      else
        return wanted_rate != rate(0);
    }
    return false;
  }
  /// Brings it into those of the rate as it is now; false, and in the old ones, if it has numbers that are too large.
  bool settle([[maybe_unused]] F const& f, [[maybe_unused]] step<Exec> const& ctx,
              [[maybe_unused]] state_of<F, Exec>& memory) {
    if constexpr (can_follow_rate<F>) {
      if (wanted_rate == 0 || wanted_rate == rate(0)) return true;
      if (in_model_units(f) && rate(0) != 0 && !f.rescale(ctx, rate(0) / wanted_rate, memory)) return false;
      rate(0) = wanted_rate;
    }
    return true;
  }
  void commit() {
    if constexpr (can_follow_rate<F>) old_rate = rate(0);
  }
  void undo() {
    if constexpr (can_follow_rate<F>) std::swap(rate(0), old_rate);
  }
  template <class V>
  void visit(F const& f, V&& v) {
    if (in_model_units(f)) v("learning_rate", rate);
  }
};

}  // namespace gradpress::detail
