// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: momentum SGD on the averaged gradient, what every other is compared with.

#include <gradpress/optimizer/in_place.hpp>

namespace gradpress {

/// u = mean of the gradients, by any compressor; d = u + weight_decay x; m = momentum m + d; x -= learning_rate m, or
/// learning_rate (d + momentum m) with `nesterov`.
///
/// - Point     the model x itself, in the user's memory.
/// - Decay     after decode, as a term of the gradient, so through the momentum; neither compressed nor in a memory.
/// - Memory    m and its spare, and x before the last step: 12 bytes a parameter. m is the same on all ranks.
/// - Cost      24 bytes a parameter after the exchange, in one pass.
/// - Units     the compressor sees gradients; its memory keeps those, so a learning rate that changes meets old ones.
/// - Compressor any. Momentum comes after it: give it no memory with a momentum of its own.
/// - Source    as in Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019, algorithm 2 (momentum after decode).
struct sgd {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative
  bool nesterov = false;

  using family = family::optimizer;
  static constexpr std::string_view name = "sgd";
  static constexpr auto knobs = std::tuple{knob{"learning_rate", &sgd::learning_rate}, knob{"momentum", &sgd::momentum},
                                           knob{"weight_decay", &sgd::weight_decay}, knob{"nesterov", &sgd::nesterov}};

  void check() const {
    detail::check_learning_rate(name, learning_rate);
    detail::check_momentum(name, momentum);
    detail::check_decay(name, weight_decay);
  }
  [[nodiscard]] kernel::momentum_numbers numbers() const noexcept {
    return {static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay),
            nesterov};
  }

  template <class Exec>
  class worker : public in_place<Exec> {
    using in_place<Exec>::momentum_, in_place<Exec>::before_, in_place<Exec>::x_;

   public:
    worker(sgd const&, Exec const& exec, view<Exec> x, bool) : in_place<Exec>(exec, x) {}
    void commit(sgd const& use, turn<Exec> const& t, in<Exec> update) {
      kernel::momentum_descent(t.exec, use.numbers(), momentum_.now.data(), update.data(), x_.data(),
                               momentum_.spare.data(), before_.data(), x_.extent(0));
      momentum_.turn();
    }
  };
};

static_assert(explain_optimizer<sgd>());

}  // namespace gradpress
