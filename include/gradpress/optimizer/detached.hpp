// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The worker of the methods that keep x beside the parameters and hand eta m, in the model's units, to a compressor
/// with error feedback: `def`, `def_a`, `saef`, `dist_ef_sgd`. What differs is a value.

#include <gradpress/kernel/descent.hpp>
#include <gradpress/optimizer/twin.hpp>

namespace gradpress {

/// What a method with this worker is: gradients at w = x - lambda e, `local_steps` of them a step.
struct detached_numbers {
  kernel::momentum_numbers descent;
  float lambda = 0;
};

namespace detail {
inline void check_detached(std::string_view method, double rate, double momentum, double lambda, double decay,
                           int local_steps) {
  check_learning_rate(method, rate);
  check_momentum(method, momentum);
  check_knob(method, lambda >= 0 && lambda <= 1, "lambda", "lie in [0, 1]", lambda);
  check_decay(method, decay);
  check_knob(method, local_steps >= 1, "local_steps", "be at least 1", local_steps);
}
}  // namespace detail

/// - State   x (the same on all ranks), the local momentum, a spare of each: 16 bytes a parameter; with local steps 4 more.
/// - Gradient memory is used: after the last gradient of a step it holds eta m, and after the step the mean update.
template <class Exec>
class detached {
  twin<Exec> x_, momentum_;
  buffer<Exec> sum_;  // of eta m over local steps; empty while there is one
  view<Exec> w_;
  std::size_t n_;

 public:
  template <class Method>
  detached(Method const&, Exec const& exec, view<Exec> w, bool)
      : x_{unwritten<Exec>("gradpress::model", w.extent(0)), unwritten<Exec>("gradpress::model", w.extent(0))},
        momentum_{kernel::zeros(exec, "gradpress::momentum", w.extent(0)),
                  unwritten<Exec>("gradpress::momentum", w.extent(0))},
        w_(w),
        n_(w.extent(0)) {
    kernel::copy(exec, w.data(), n_, x_.now.data());
  }

  /// Later points of a step lie where `take` left them.
  template <class Method>
  void point(Method const& use, turn<Exec> const& t) {
    if (t.gradient == 0) kernel::lean(t.exec, use.numbers().lambda, x_.now.data(), t.residual.data(), w_.data(), n_);
  }
  template <class Method>
  float* take(Method const& use, turn<Exec> const& t, view<Exec> g) {
    bool const first = t.gradient == 0, last = t.gradient + 1 == t.of;
    auto* const before = first ? momentum_.now.data() : momentum_.spare.data();
    kernel::descent_signal(t.exec, use.numbers().descent, before, g.data(), w_.data(), momentum_.spare.data(), g.data(),
                           n_);
    if (first && last) return g.data();
    if (sum_.extent(0) != n_) sum_ = unwritten<Exec>("gradpress::sum", n_);
    if (first)
      kernel::copy(t.exec, g.data(), n_, sum_.data());
    else
      kernel::accumulate(t.exec, g.data(), false, sum_.data(), n_);
    if (last) return sum_.data();
    kernel::sub(t.exec, w_.data(), g.data(), w_.data(), n_);
    return nullptr;
  }
  template <class Method>
  void commit(Method const& use, turn<Exec> const& t, in<Exec> update) {
    kernel::lean_step(t.exec, use.numbers().lambda, x_.now.data(), update.data(), t.residual.data(), x_.spare.data(),
                      w_.data(), n_);
    x_.turn();
    momentum_.turn();
  }
  void undo() {
    x_.turn();
    momentum_.turn();
  }
  template <class V>
  void visit(V&& v) {
    v("model", x_.now.data(), n_);
    v("momentum", momentum_.now.data(), n_);
  }
  [[nodiscard]] float const* shared() const { return x_.now.data(); }

  // The spare of x is free between steps, but for an undo, which ends where these begin.

  /// The model x - mean e.
  template <class Method>
  float* ask_model(Method const&, turn<Exec> const& t) {
    return ask_mean(t);
  }
  template <class Method>
  void model(Method const&, turn<Exec> const& t, float const* mean) {
    kernel::lean(t.exec, 1.f, x_.now.data(), mean, w_.data(), n_);
  }
  /// Every rank's e becomes their mean.
  template <class Method>
  float* ask_upkeep(Method const&, turn<Exec> const& t) {
    return ask_mean(t);
  }
  template <class Method>
  void upkeep(Method const&, turn<Exec> const& t, in<Exec> mean, buffer<Exec> const&) {
    kernel::copy(t.exec, mean.data(), n_, t.residual.data());
  }

 private:
  float* ask_mean(turn<Exec> const& t) {
    if (t.residual.extent(0) == 0) return nullptr;
    kernel::copy(t.exec, t.residual.data(), n_, x_.spare.data());
    return x_.spare.data();
  }
};

}  // namespace gradpress
