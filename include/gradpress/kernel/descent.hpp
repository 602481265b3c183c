// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What optimizers do to whole vectors: momentum, weight decay, descent, and the points between a model and a memory.
/// Every product is rounded before it is added: the same bits on every machine, so that replicas never drift.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>

namespace gradpress::kernel {

/// The numbers of momentum SGD.
struct momentum_numbers {
  float rate = 0, momentum = 0, decay = 0;
  bool nesterov = false;
};

namespace detail {

GRADPRESS_UNFUSED inline void descent_signal_range(momentum_numbers k, float const* m, float const* g, float const* w,
                                                   float* m_out, float* signal, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const shrink = k.decay * w[i], d = k.decay == 0.f ? g[i] : g[i] + shrink;
    float const old = k.momentum * m[i], now = old + d, ahead = k.momentum * now;
    m_out[i] = now;
    signal[i] = k.rate * (k.nesterov ? d + ahead : now);
  }
}
GRADPRESS_UNFUSED inline void momentum_descent_range(momentum_numbers k, float const* m, float const* u, float* x,
                                                     float* m_out, float* before, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const was = x[i], shrink = k.decay * was, d = k.decay == 0.f ? u[i] : u[i] + shrink;
    float const old = k.momentum * m[i], now = old + d, ahead = k.momentum * now;
    float const down = k.rate * (k.nesterov ? d + ahead : now);
    before[i] = was;
    m_out[i] = now;
    x[i] = was - down;
  }
}
GRADPRESS_UNFUSED inline void decay_descent_range(momentum_numbers k, float const* m, float const* u, float* x,
                                                  float* m_out, float* before, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const was = x[i], d = k.decay * was;
    float const old = k.momentum * m[i], now = old + d, ahead = k.momentum * now;
    float const down = k.rate * (u[i] + (k.nesterov ? d + ahead : now));
    before[i] = was;
    m_out[i] = now;
    x[i] = was - down;
  }
}
GRADPRESS_UNFUSED inline void descent_range(momentum_numbers k, float const* x, float const* u, float* out,
                                            std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const shrink = k.decay * x[i], d = k.decay == 0.f ? u[i] : u[i] + shrink, down = k.rate * d;
    out[i] = x[i] - down;
  }
}
GRADPRESS_UNFUSED inline void sign_descent_range(momentum_numbers k, float const* u, float* x, float* before,
                                                 std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const was = x[i], s = u[i] > 0 ? 1.f : u[i] < 0 ? -1.f : 0.f;
    float const shrink = k.decay * was, down = k.rate * (k.decay == 0.f ? s : s + shrink);
    before[i] = was;
    x[i] = was - down;
  }
}
GRADPRESS_UNFUSED inline void lean_range(float lambda, float const* x, float const* e, float* w,
                                         std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const away = lambda * e[i];
    w[i] = x[i] - away;
  }
}
GRADPRESS_UNFUSED inline void lean_step_range(float lambda, float const* x, float const* c, float const* e,
                                              float* x_out, float* w, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < n; ++i) {
    float const now = x[i] - c[i], away = lambda * e[i];
    x_out[i] = now;
    w[i] = now - away;
  }
}
inline void collect_step_range(float const* x, float const* c, float const* e, float* rest, float* x_out, float* e_out,
                               float* w, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    float const now = x[i] - c[i], left = e[i] + rest[i];
    x_out[i] = now;
    e_out[i] = left;
    w[i] = now - left;
    rest[i] = 0.f;
  }
}

}  // namespace detail

/// d = g + decay w; m_out = momentum m + d; signal = rate m_out, or rate (d + momentum m_out) with Nesterov's form.
/// signal may be g, m_out may be m.
template <class Exec>
void descent_signal(Exec const& exec, momentum_numbers k, float const* m, float const* g, float const* w, float* m_out,
                    float* signal, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::descent_signal", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::descent_signal_range(k, m + at, g + at, w + at, m_out + at, signal + at, to - at);
  });
}

/// before = x, then x less the signal that `descent_signal` gives of (m, u, x), in one pass. m_out may be m.
template <class Exec>
void momentum_descent(Exec const& exec, momentum_numbers k, float const* m, float const* u, float* x, float* m_out,
                      float* before, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::momentum_descent", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::momentum_descent_range(k, m + at, u + at, x + at, m_out + at, before + at, to - at);
  });
}

/// As `momentum_descent`, with momentum for the decay alone: before = x, d = decay x, m_out = momentum m + d,
/// x -= rate (u + m_out), or rate (u + d + momentum m_out) with Nesterov's form.
template <class Exec>
void decay_descent(Exec const& exec, momentum_numbers k, float const* m, float const* u, float* x, float* m_out,
                   float* before, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::decay_descent", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::decay_descent_range(k, m + at, u + at, x + at, m_out + at, before + at, to - at);
  });
}

/// out = x - rate (u + decay x); out may be x.
template <class Exec>
void descent(Exec const& exec, momentum_numbers k, float const* x, float const* u, float* out, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::descent", n, dense_grain,
             [&](std::size_t at, std::size_t to) { detail::descent_range(k, x + at, u + at, out + at, to - at); });
}

/// before = x, then x -= rate (sign(u) + decay x); the sign of zero is zero.
template <class Exec>
void sign_descent(Exec const& exec, momentum_numbers k, float const* u, float* x, float* before, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::sign_descent", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::sign_descent_range(k, u + at, x + at, before + at, to - at);
  });
}

/// w = x - lambda e, exactly x where lambda = 0 or there is no e.
template <class Exec>
void lean(Exec const& exec, float lambda, float const* x, float const* e, float* w, std::size_t n) {
  if (lambda == 0.f || e == nullptr) return copy(exec, x, n, w);
  for_ranges(exec, "gradpress::kernel::lean", n, dense_grain,
             [&](std::size_t at, std::size_t to) { detail::lean_range(lambda, x + at, e + at, w + at, to - at); });
}

/// x_out = x - c and w = x_out - lambda e, as `lean` does. x_out may be x.
template <class Exec>
void lean_step(Exec const& exec, float lambda, float const* x, float const* c, float const* e, float* x_out, float* w,
               std::size_t n) {
  if (lambda == 0.f || e == nullptr) {
    sub(exec, x, c, x_out, n);
    return copy(exec, x_out, n, w);
  }
  for_ranges(exec, "gradpress::kernel::lean_step", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::lean_step_range(lambda, x + at, c + at, e + at, x_out + at, w + at, to - at);
  });
}

/// x_out = x - c, e_out = e + rest, w = x_out - e_out, rest = 0.
template <class Exec>
void collect_step(Exec const& exec, float const* x, float const* c, float const* e, float* rest, float* x_out,
                  float* e_out, float* w, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::collect_step", n, dense_grain, [&](std::size_t at, std::size_t to) {
    detail::collect_step_range(x + at, c + at, e + at, rest + at, x_out + at, e_out + at, w + at, to - at);
  });
}

GRADPRESS_ONCE(descent_signal);
GRADPRESS_ONCE(momentum_descent);
GRADPRESS_ONCE(decay_descent);
GRADPRESS_ONCE(descent);
GRADPRESS_ONCE(sign_descent);
GRADPRESS_ONCE(lean);
GRADPRESS_ONCE(lean_step);
GRADPRESS_ONCE(collect_step);

}  // namespace gradpress::kernel
