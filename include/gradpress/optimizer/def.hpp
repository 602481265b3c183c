// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: detached error feedback (DEF).

#include <gradpress/optimizer/detached.hpp>

namespace gradpress {

/// Each rank takes its gradient at w_i = x - lambda e_i, between the model x that all share and its own iterate, where
/// all that its memory e_i owes is paid: m_i = momentum m_i + g_i(w_i) + weight_decay w_i, and learning_rate m_i is handed
/// to the compressor; x -= the mean of what was delivered.
///
/// - Point     w_i, in the user's parameters; a rank's own. The model that is returned is x, the same on all ranks.
/// - Local     `local_steps` > 1 takes as many gradients, at as many samples, before it communicates:
///             w_i -= learning_rate m_i after each, and the sum of learning_rate m_i is handed over.
/// - Decay     a term of each local gradient, as in the authors' code: through momentum and compressor.
/// - Units     e_i is in the model's units: a change of the learning rate needs no correction.
/// - Memory    x, m_i and their spares: 16 bytes a parameter, 20 with local steps; and the compressor's.
/// - Cost      20 bytes a parameter before the exchange and 20 after it; reading e_i settles what a memory owes.
/// - Edges     lambda = 0 is error feedback with local momentum; lambda = 1 is `saef`; with a lossless compressor
///             e_i = 0 and it is `sgd` with momentum before the mean, equal to rounding, on one rank bit for bit.
/// - Compressor with `error_feedback` and any exchange, or a lossless one.
/// - Source    Xu, Huang, Detached Error Feedback for Distributed SGD with Random Sparsification, ICML 2022; the order of
///             momentum and decay as in the authors' code. Differs: any compressor.
struct def {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double lambda = 0.3;      ///< in [0, 1]
  double weight_decay = 0;  ///< not negative
  int local_steps = 1;      ///< gradients a step, at least 1

  using family = family::optimizer;
  static constexpr std::string_view name = "def";
  static constexpr auto knobs = std::tuple{knob{"learning_rate", &def::learning_rate}, knob{"momentum", &def::momentum},
                                           knob{"lambda", &def::lambda}, knob{"weight_decay", &def::weight_decay},
                                           knob{"local_steps", &def::local_steps}};
  static constexpr memory_need needs = memory_need::residual;
  template <class Exec>
  using worker = detached<Exec>;

  void check() const { detail::check_detached(name, learning_rate, momentum, lambda, weight_decay, local_steps); }
  [[nodiscard]] int gradients(training_step) const noexcept { return local_steps; }
  [[nodiscard]] detached_numbers numbers() const noexcept {
    return {{static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), false},
            static_cast<float>(lambda)};
  }
};

static_assert(explain_optimizer<def>());

}  // namespace gradpress
