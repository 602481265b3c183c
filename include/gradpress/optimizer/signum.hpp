// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: Signum, steps of one length in the direction of a sign.

#include <gradpress/kernel/blend.hpp>
#include <gradpress/optimizer/in_place.hpp>

namespace gradpress {

/// m_i = momentum m_i + (1 - momentum) g_i, on each rank, is handed to the compressor; with u what comes of it,
/// x -= learning_rate (sign(u) + weight_decay x).
///
/// - Point     the model x itself.
/// - Sign      of zero is zero: an entry on which all are silent, or on which a vote is tied, stays.
/// - Units     learning_rate is the length of every step in every entry: values like those of Adam, 1e-4 and less.
/// - Decay     decoupled, after decode.
/// - Memory    m_i and its spare, x before the last step: 12 bytes a parameter, and the compressor's.
/// - Cost      20 bytes a parameter before the exchange, 16 after it.
/// - Compressor a sign and a majority vote is the published method; with `sign` and the mean, magnitudes have a vote; without
///             compression it is the sign of the mean momentum.
/// - Bias      a sign of noise may point uphill, and two ranks may outvote each other for ever: what the published method
///             is known for. Use error feedback and `sgd` or `dist_ef_sgd` where that matters.
/// - Source    Bernstein, Zhao, Azizzadenesheli, Anandkumar, signSGD with Majority Vote, ICLR 2019, algorithm 1.
struct signum {
  double learning_rate = 1e-4;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative

  using family = family::optimizer;
  static constexpr std::string_view name = "signum";
  static constexpr auto knobs =
      std::tuple{knob{"learning_rate", &signum::learning_rate}, knob{"momentum", &signum::momentum},
                 knob{"weight_decay", &signum::weight_decay}};

  void check() const {
    detail::check_learning_rate(name, learning_rate);
    detail::check_momentum(name, momentum);
    detail::check_decay(name, weight_decay);
  }
  [[nodiscard]] kernel::momentum_numbers numbers() const noexcept {
    return {static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), false};
  }

  template <class Exec>
  class worker : public in_place<Exec> {
    using in_place<Exec>::momentum_, in_place<Exec>::before_, in_place<Exec>::x_;

   public:
    worker(signum const&, Exec const& exec, view<Exec> x, bool) : in_place<Exec>(exec, x) {}
    float* take(signum const& use, turn<Exec> const& t, view<Exec> g) {
      auto const n = g.extent(0);
      kernel::blend(t.exec, static_cast<float>(1 - use.momentum), momentum_.now.data(), g.data(),
                    momentum_.spare.data(), n);
      kernel::copy(t.exec, momentum_.spare.data(), n, g.data());
      return g.data();
    }
    void commit(signum const& use, turn<Exec> const& t, in<Exec> update) {
      kernel::sign_descent(t.exec, use.numbers(), update.data(), x_.data(), before_.data(), x_.extent(0));
      momentum_.turn();
    }
  };
};

static_assert(explain_optimizer<signum>());

}  // namespace gradpress
