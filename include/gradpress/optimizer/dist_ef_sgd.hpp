// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: dist-EF-SGD, momentum on the workers and error feedback in the model's units.

#include <gradpress/optimizer/detached.hpp>

namespace gradpress {

/// m_i = momentum m_i + g_i; p_i = learning_rate (g_i + momentum m_i), or learning_rate m_i without `nesterov`, is handed
/// to the compressor; x -= the mean of what was delivered.
///
/// - Point     the model x itself, the same on all ranks.
/// - Units     the model's. In those of the gradient the published recursion scales its memory by the ratio of the last
///             learning rate to this one; here that is implicit, nothing grows where the rate falls fast, and a rate of 0 is
///             legal.
/// - Decay     a term of each rank's gradient, through momentum and compressor.
/// - Compressor with `error_feedback` and blocks of its own (`sign`, `stochastic_int`): "blockwise". Both sides are
///             compressed by an exchange with a memory at the owner, `two_sided`, or `scatter_reduce`.
/// - Memory    as `def`: 16 bytes a parameter and the compressor's.
/// - Source    Zheng, Huang, Kwok, Communication-Efficient Distributed Blockwise Momentum SGD with Error-Feedback, NeurIPS
///             2019, algorithms 1 and 2. Differs: model units, after Phuong, Phong, arXiv 2003.04706, who show that the
///             published bound does not hold for every sequence of rates.
struct dist_ef_sgd {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative
  bool nesterov = true;

  using family = family::optimizer;
  static constexpr std::string_view name = "dist_ef_sgd";
  static constexpr auto knobs =
      std::tuple{knob{"learning_rate", &dist_ef_sgd::learning_rate}, knob{"momentum", &dist_ef_sgd::momentum},
                 knob{"weight_decay", &dist_ef_sgd::weight_decay}, knob{"nesterov", &dist_ef_sgd::nesterov}};
  static constexpr memory_need needs = memory_need::residual;
  static constexpr bool reads_residual = false;
  template <class Exec>
  using worker = detached<Exec>;

  void check() const { detail::check_detached(name, learning_rate, momentum, 0, weight_decay, 1); }
  [[nodiscard]] detached_numbers numbers() const noexcept {
    return {
        {static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), nesterov},
        0.f};
  }
};

static_assert(explain_optimizer<dist_ef_sgd>());

}  // namespace gradpress
