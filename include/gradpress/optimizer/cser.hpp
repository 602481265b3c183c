// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: communication-efficient SGD with error reset (CSER).

#include <gradpress/kernel/descent.hpp>
#include <gradpress/optimizer/twin.hpp>

namespace gradpress {

/// Two compressors. In each step learning_rate m_i travels by the first; what of it is not delivered goes into the rank's
/// own model instead of a memory, w_i = x - e_i, and is not sent again, until before every `reset_every`-th step the
/// errors e_i travel by the second: x -= mean delivered of e, and each e_i keeps what was not.
///
/// - Point     w_i, the rank's own model. The model returned is their mean, x - mean of the e_i: a dense all-reduce.
/// - Decay     a term of each local gradient.
/// - Memory    x, e_i, m_i and their spares: 24 bytes a parameter, and of each compressor 8, which are zero between steps.
/// - Cost      20 bytes a parameter before the exchange and 32 after it. A reset is made by `driver.next()` and counts as
///             a step of the reducer, not of the driver.
/// - Law       x - e_i + what travels: the mean of the w_i follows momentum SGD on the ranks' own gradients, by any
///             compressors, and no reset changes it.
/// - Edges     reset_every = 1 with a second compressor without loss is local momentum SGD, averaged in every step.
/// - Compressor both with `error_feedback`, which tells what was not delivered, or without loss.
/// - Source    Xie, Zheng, Koyejo, Gupta, Li, Lin, CSER: Communication-efficient SGD with Error Reset, NeurIPS 2020; order of
///             momentum, decay and reset as in the code of DEF's authors. Differs: x and e_i are kept and not w_i, so that
///             replicas of x stay equal to the bit; and the sign of e_i, which is what is owed.
struct cser {
  double learning_rate = 0.1;
  double momentum = 0.9;    ///< in [0, 1)
  double weight_decay = 0;  ///< not negative
  int reset_every = 4;      ///< steps, at least 1

  using family = family::optimizer;
  static constexpr std::string_view name = "cser";
  static constexpr auto knobs =
      std::tuple{knob{"learning_rate", &cser::learning_rate}, knob{"momentum", &cser::momentum},
                 knob{"weight_decay", &cser::weight_decay}, knob{"reset_every", &cser::reset_every}};
  static constexpr memory_need needs = memory_need::residual;
  static constexpr int compressors = 2;
  static constexpr bool averages = true, returns_mean = true;
  static constexpr channel upkeep_way = channel::second;

  void check() const {
    detail::check_learning_rate(name, learning_rate);
    detail::check_momentum(name, momentum);
    detail::check_decay(name, weight_decay);
    detail::check_knob(name, reset_every >= 1, "reset_every", "be at least 1", reset_every);
  }
  [[nodiscard]] bool upkeep(training_step s) const noexcept {
    return s.number > 0 && s.number % static_cast<std::uint64_t>(reset_every) == 0;
  }
  [[nodiscard]] kernel::momentum_numbers numbers() const noexcept {
    return {static_cast<float>(learning_rate), static_cast<float>(momentum), static_cast<float>(weight_decay), false};
  }

  template <class Exec>
  class worker {
    twin<Exec> x_, error_, momentum_;
    view<Exec> w_;
    std::size_t n_;
    bool lossless_, collected_ = false;  // of the last step

   public:
    worker(cser const&, Exec const& exec, view<Exec> w, bool lossless)
        : x_(unwritten_twin(w.extent(0))),
          error_(unwritten_twin(w.extent(0))),
          momentum_(unwritten_twin(w.extent(0))),
          w_(w),
          n_(w.extent(0)),
          lossless_(lossless) {
      kernel::copy(exec, w.data(), n_, x_.now.data());
      kernel::fill_zero(exec, error_.now.data(), n_);
      kernel::fill_zero(exec, momentum_.now.data(), n_);
    }
    void point(cser const&, turn<Exec> const& t) {
      kernel::lean(t.exec, 1.f, x_.now.data(), error_.now.data(), w_.data(), n_);
    }
    float* take(cser const& use, turn<Exec> const& t, view<Exec> g) {
      kernel::descent_signal(t.exec, use.numbers(), momentum_.now.data(), g.data(), w_.data(), momentum_.spare.data(),
                             g.data(), n_);
      return g.data();
    }
    void commit(cser const&, turn<Exec> const& t, in<Exec> update) {
      collected_ = t.residual.extent(0) > 0;
      if (collected_) {
        kernel::collect_step(t.exec, x_.now.data(), update.data(), error_.now.data(), t.residual.data(),
                             x_.spare.data(), error_.spare.data(), w_.data(), n_);
        error_.turn();
      } else {
        kernel::lean_step(t.exec, 1.f, x_.now.data(), update.data(), error_.now.data(), x_.spare.data(), w_.data(), n_);
      }
      x_.turn();
      momentum_.turn();
    }
    void undo() {
      x_.turn();
      momentum_.turn();
      if (collected_) error_.turn();
    }
    template <class V>
    void visit(V&& v) {
      v("model", x_.now.data(), n_);
      v("error", error_.now.data(), n_);
      v("momentum", momentum_.now.data(), n_);
    }
    [[nodiscard]] float const* shared() const { return x_.now.data(); }

    // The spare of x is free between steps, but for an undo, which ends where these begin.

    float* ask_model(cser const&, turn<Exec> const& t) { return ask(t); }
    void model(cser const&, turn<Exec> const& t, float const* mean) {
      kernel::lean(t.exec, 1.f, x_.now.data(), mean, w_.data(), n_);
    }
    float* ask_upkeep(cser const&, turn<Exec> const& t) { return ask(t); }
    void upkeep(cser const&, turn<Exec> const& t, in<Exec> delivered, buffer<Exec> const& rest) {
      kernel::sub(t.exec, x_.now.data(), delivered.data(), x_.now.data(), n_);
      kernel::fill_zero(t.exec, error_.now.data(), n_);
      if (rest.extent(0) == 0) return;
      kernel::copy(t.exec, rest.data(), n_, error_.now.data());
      kernel::fill_zero(t.exec, rest.data(), n_);
    }

   private:
    static twin<Exec> unwritten_twin(std::size_t n) {
      return {unwritten<Exec>("gradpress::cser", n), unwritten<Exec>("gradpress::cser", n)};
    }
    float* ask(turn<Exec> const& t) {
      if (lossless_ || n_ == 0) return nullptr;
      kernel::copy(t.exec, error_.now.data(), n_, x_.spare.data());
      return x_.spare.data();
    }
  };
};

static_assert(explain_optimizer<cser>());

}  // namespace gradpress
