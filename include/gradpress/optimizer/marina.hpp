// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Optimizer: MARINA, compressed differences of gradients between two models.

#include <gradpress/core/knobs.hpp>
#include <gradpress/kernel/descent.hpp>
#include <gradpress/optimizer/twin.hpp>

#include <array>

namespace gradpress {

/// G estimates the mean gradient, the same on all ranks. By a coin that ranks share, with `probability`, a step sends
/// g_i(x) whole and G becomes their mean; else it sends g_i(x) - g_i(before), both at the same samples, by the compressor,
/// and G += the mean of what arrives. Then x -= learning_rate (G + weight_decay x).
///
/// - Point     x, and in a step of a difference also the model before it: two gradients, with one sample number.
/// - Start     the first step is whole.
/// - Decay     after decode: neither in G nor compressed.
/// - Memory    x, the model before, one older for an undo, G and its spare, a gradient: 24 bytes a parameter.
/// - Cost      20 bytes a parameter before the exchange of a difference, 28 after it.
/// - Units     `probability` as density of the compressor balances both kinds of steps: K / n for random-K.
/// - Edges     probability = 1 is gradient descent without momentum, bit for bit; without compression too, to rounding.
/// - Compressor unbiased and without a memory: G is the memory. A biased one drifts until the next whole step.
/// - Source    Gorbunov, Burlachenko, Li, Richtarik, MARINA, ICML 2021, and its VR-MARINA for mini-batches. Differs: any
///             compressor; a whole step takes the same mini-batch, where the paper takes all samples or a larger one.
struct marina {
  double learning_rate = 0.1;
  double probability = 0.1;  ///< of a whole gradient, in (0, 1]
  double weight_decay = 0;   ///< not negative

  using family = family::optimizer;
  static constexpr std::string_view name = "marina";
  static constexpr auto knobs =
      std::tuple{knob{"learning_rate", &marina::learning_rate}, knob{"probability", &marina::probability},
                 knob{"weight_decay", &marina::weight_decay}};
  static constexpr memory_need needs = memory_need::none;
  static constexpr bool averages = true;

  void check() const {
    detail::check_learning_rate(name, learning_rate);
    detail::check_knob(name, probability > 0 && probability <= 1, "probability", "lie in (0, 1]", probability);
    detail::check_decay(name, weight_decay);
  }
  /// Does this step send whole gradients? The same on all ranks.
  [[nodiscard]] bool whole(training_step s) const noexcept {
    constexpr auto coin = digest{}.add("marina").value();
    return s.number == 0 || static_cast<double>(key{s.seed}.with(s.number).with(coin).uniform(0)) < probability;
  }
  [[nodiscard]] int gradients(training_step s) const noexcept { return whole(s) ? 1 : 2; }
  [[nodiscard]] int samples(training_step) const noexcept { return 1; }
  [[nodiscard]] channel way(training_step s) const noexcept { return whole(s) ? channel::mean : channel::first; }
  [[nodiscard]] kernel::momentum_numbers numbers() const noexcept {
    return {static_cast<float>(learning_rate), 0.f, static_cast<float>(weight_decay), false};
  }

  template <class Exec>
  class worker {
    std::array<buffer<Exec>, 3> x_;  // now, the model before it, one older, which the next step writes
    twin<Exec> estimate_;
    buffer<Exec> newest_;  // gradient, while that at the model before is awaited
    view<Exec> w_;
    std::size_t n_;

   public:
    worker(marina const&, Exec const& exec, view<Exec> w, bool)
        : estimate_{kernel::zeros(exec, "gradpress::estimate", w.extent(0)),
                    unwritten<Exec>("gradpress::estimate", w.extent(0))},
          newest_(unwritten<Exec>("gradpress::newest", w.extent(0))),
          w_(w),
          n_(w.extent(0)) {
      for (auto& x : x_) {
        x = unwritten<Exec>("gradpress::model", n_);
        kernel::copy(exec, w.data(), n_, x.data());
      }
    }
    void point(marina const&, turn<Exec> const& t) {
      kernel::copy(t.exec, x_[t.gradient == 0 ? 0 : 1].data(), n_, w_.data());
    }
    float* take(marina const&, turn<Exec> const& t, view<Exec> g) {
      if (t.of == 1) return g.data();
      if (t.gradient == 0) {
        kernel::copy(t.exec, g.data(), n_, newest_.data());
        return nullptr;
      }
      kernel::sub(t.exec, newest_.data(), g.data(), g.data(), n_);
      return g.data();
    }
    void commit(marina const& use, turn<Exec> const& t, in<Exec> update) {
      if (t.of == 1)
        kernel::copy(t.exec, update.data(), n_, estimate_.spare.data());
      else
        kernel::add(t.exec, estimate_.now.data(), update.data(), estimate_.spare.data(), n_);
      estimate_.turn();
      kernel::descent(t.exec, use.numbers(), x_[0].data(), estimate_.now.data(), x_[2].data(), n_);
      x_ = {x_[2], x_[0], x_[1]};
      kernel::copy(t.exec, x_[0].data(), n_, w_.data());
    }
    void undo() {
      x_ = {x_[1], x_[2], x_[0]};
      estimate_.turn();
    }
    void model(marina const& use, turn<Exec> t, float const*) {
      t.gradient = 0;
      point(use, t);
    }
    template <class V>
    void visit(V&& v) {
      v("model", x_[0].data(), n_);
      v("before", x_[1].data(), n_);
      v("estimate", estimate_.now.data(), n_);
    }
    [[nodiscard]] float const* shared() const { return x_[0].data(); }
  };
};

static_assert(explain_optimizer<marina>());

}  // namespace gradpress
