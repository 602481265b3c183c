// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: the outside of Deep Gradient Compression, whose momentum lives in the compressor's memory.

#include <gradpress/optimizer/in_place.hpp>

namespace gradpress {

/// Compressed parameters: x -= learning_rate u, with u what comes of the compressor, whose memory runs the momentum; no
/// momentum is added to it. Uncompressed ones run the same recursion on the mean gradient.
///
/// - Point     the model x itself.
/// - Decay     after decode, outside of the memory, with a momentum of its own, so that both kinds of parameters decay
///             alike: s = momentum s + weight_decay x; x -= learning_rate s.
/// - Momentum  and nesterov must be those of the memory, which is compared; a warm-up without masking is the memory's.
/// - Memory    12 bytes a parameter, and the compressor's.
/// - Cost      24 bytes a parameter after the exchange.
/// - Density   0.25 falling to 0.001 in the first epochs: `reducer.follow(driver.tensor(w), "density", warm_up{...})`.
/// - Compressor `top_k` or `sampled_top_k` with `momentum_correction`.
/// - Source    Lin, Han, Mao, Wang, Dally, Deep Gradient Compression, ICLR 2018, algorithm 1; decay and uncompressed
///             parameters as in the authors' code.
struct dgc {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative
  bool nesterov = false;

  using family = family::optimizer;
  static constexpr std::string_view name = "dgc";
  static constexpr auto knobs = std::tuple{knob{"learning_rate", &dgc::learning_rate}, knob{"momentum", &dgc::momentum},
                                           knob{"weight_decay", &dgc::weight_decay}, knob{"nesterov", &dgc::nesterov}};
  static constexpr memory_need needs = memory_need::momentum;

  void check() const {
    detail::check_learning_rate(name, learning_rate);
    detail::check_momentum(name, momentum);
    detail::check_decay(name, weight_decay);
  }
  template <class F>
  void check_memory(F const& memory) const {
    bool same = memory.momentum == momentum;
    if constexpr (requires { memory.nesterov; }) same &= memory.nesterov == nesterov;
    if (!same)
      throw configuration_error("gradpress: dgc: momentum and nesterov must be those of the compressor's memory, " +
                                describe(memory) + "; they are " + std::to_string(momentum) + " and " +
                                (nesterov ? "true" : "false"));
  }
  [[nodiscard]] kernel::momentum_numbers numbers() const noexcept {
    return {static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay),
            nesterov};
  }

  template <class Exec>
  class worker : public in_place<Exec> {
    using in_place<Exec>::momentum_, in_place<Exec>::before_, in_place<Exec>::x_;
    bool compressed_;  // then the momentum is that of the decay alone

   public:
    worker(dgc const&, Exec const& exec, view<Exec> x, bool lossless)
        : in_place<Exec>(exec, x), compressed_(!lossless) {}
    void commit(dgc const& use, turn<Exec> const& t, in<Exec> update) {
      auto const step = [&](auto const& pass) {
        pass(t.exec, use.numbers(), momentum_.now.data(), update.data(), x_.data(), momentum_.spare.data(),
             before_.data(), x_.extent(0));
      };
      if (compressed_)
        step([](auto const&... a) { kernel::decay_descent(a...); });
      else
        step([](auto const&... a) { kernel::momentum_descent(a...); });
      momentum_.turn();
    }
  };
};

static_assert(explain_optimizer<dgc>());

}  // namespace gradpress
