// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: step-ahead error feedback (SAEF).

#include <gradpress/optimizer/detached.hpp>

namespace gradpress {

/// `def` with lambda = 1: each rank takes its gradient where all that it owes is paid, w_i = x - e_i. Before every
/// `average_every`-th step each e_i becomes the mean of them, which brings the ranks' points together.
///
/// - Cost      as `def`; an average is a dense all-reduce, made by `driver.next()`.
/// - Law       neither x nor the mean of the e_i is changed by an average.
/// - Edges     average_every = 0 never averages. One rank: w is momentum SGD, to rounding, by any compressor.
/// - Compressor, decay, units, memory as `def`. An average settles what a memory owes.
/// - Source    Xu, Huo, Huang, Step-Ahead Error Feedback for Distributed Training with Compressed Gradient, AAAI 2021; order
///             of momentum, decay and average as in the code of DEF's authors. Differs: any compressor, the model's units
///             instead of a ratio of learning rates, and the gradient after an average is taken where it led, not where
///             the rank stood before it.
struct saef {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative
  int local_steps = 1;      ///< gradients a step, at least 1
  int average_every = 0;    ///< steps; 0: never

  using family = family::optimizer;
  static constexpr std::string_view name = "saef";
  static constexpr auto knobs =
      std::tuple{knob{"learning_rate", &saef::learning_rate}, knob{"momentum", &saef::momentum},
                 knob{"weight_decay", &saef::weight_decay}, knob{"local_steps", &saef::local_steps},
                 knob{"average_every", &saef::average_every}};
  static constexpr memory_need needs = memory_need::residual;
  static constexpr bool averages = true;
  static constexpr channel upkeep_way = channel::mean;
  template <class Exec>
  using worker = detached<Exec>;

  void check() const {
    detail::check_detached(name, learning_rate, momentum, 1, weight_decay, local_steps);
    detail::check_knob(name, average_every >= 0, "average_every", "not be negative", average_every);
  }
  [[nodiscard]] int gradients(training_step) const noexcept { return local_steps; }
  [[nodiscard]] bool upkeep(training_step s) const noexcept {
    return average_every > 0 && s.number > 0 && s.number % static_cast<std::uint64_t>(average_every) == 0;
  }
  [[nodiscard]] detached_numbers numbers() const noexcept {
    return {{static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), false},
            1.f};
  }
};

static_assert(explain_optimizer<saef>());

}  // namespace gradpress
