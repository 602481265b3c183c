// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: detached error feedback that returns the virtual iterate (DEF-A).

#include <gradpress/optimizer/def.hpp>

namespace gradpress {

/// `def`, bit for bit, but for the model that `driver.model()` writes: x - mean of the e_i, where plain momentum SGD would
/// be, and not x, which is an average over time of it and lags behind early in training.
///
/// - Cost      a dense all-reduce whenever the model is asked for, which `statistics` counts; nothing in a step.
/// - Edges     lambda = 1 on one rank: the model is that of momentum SGD, to rounding.
/// - Source    as `def`; the model as the authors' code evaluates it. That this is what its exchange of models does is our
///             reading.
struct def_a {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double lambda = 0.3;      ///< in [0, 1]
  double weight_decay = 0;  ///< not negative
  int local_steps = 1;      ///< gradients a step, at least 1

  using family = family::optimizer;
  static constexpr std::string_view name = "def_a";
  static constexpr auto knobs = std::tuple{
      knob{"learning_rate", &def_a::learning_rate}, knob{"momentum", &def_a::momentum}, knob{"lambda", &def_a::lambda},
      knob{"weight_decay", &def_a::weight_decay}, knob{"local_steps", &def_a::local_steps}};
  static constexpr memory_need needs = memory_need::residual;
  static constexpr bool averages = true, returns_mean = true;
  template <class Exec>
  using worker = detached<Exec>;

  void check() const { detail::check_detached(name, learning_rate, momentum, lambda, weight_decay, local_steps); }
  [[nodiscard]] int gradients(training_step) const noexcept { return local_steps; }
  [[nodiscard]] detached_numbers numbers() const noexcept {
    return {{static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), false},
            static_cast<float>(lambda)};
  }
};

static_assert(explain_optimizer<def_a>());

}  // namespace gradpress
