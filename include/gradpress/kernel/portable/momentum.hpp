// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Momentum and what gathers it, in plain C++.

#include <gradpress/core/types.hpp>
#include <gradpress/kernel/blocks.hpp>

namespace gradpress::kernel {

/// With c = scale g: u' = mu u + c and a = v + u', or, with `nesterov`, u' = mu (u + c) and a = (v + u') + c. Every
/// product and every sum is rounded.
struct momentum_pass {
  float const* g;
  float const* u;
  float const* v;
  float mu = 0.9f, scale = 1.f;
  bool nesterov = false;
};

namespace detail {

/// u' and a of elements [from, to), the first to the first of `next` and `a`.
template <bool Nesterov>
GRADPRESS_UNFUSED inline void momentum_range(momentum_pass const& s, std::size_t from, std::size_t to, float* next,
                                             float* a) noexcept {
  GRADPRESS_UNFUSED_BODY
  auto const mu = s.mu, scale = s.scale;
  for (auto i = from; i < to; ++i) {
    float const c = scale * s.g[i];
    float const u = Nesterov ? mu * (s.u[i] + c) : mu * s.u[i] + c;
    float const sum = s.v[i] + u;
    next[i - from] = u;
    a[i - from] = Nesterov ? sum + c : sum;
  }
}
/// `next` becomes 0 where `rest` is no longer the signal that `next` belongs to.
template <bool Nesterov>
GRADPRESS_UNFUSED inline void mask_range(momentum_pass const& s, float const* rest, std::size_t from, std::size_t to,
                                         float* next) noexcept {
  GRADPRESS_UNFUSED_BODY
  auto const scale = s.scale;
  for (auto i = from; i < to; ++i) {
    float const sum = s.v[i] + next[i], a = Nesterov ? sum + scale * s.g[i] : sum;
    next[i] = rest[i] == a ? next[i] : 0.f;
  }
}
/// The same of elements at[from], ..., at[to - 1].
template <bool Nesterov>
GRADPRESS_UNFUSED inline void mask_positions(momentum_pass const& s, float const* rest, index_t const* at,
                                             std::size_t from, std::size_t to, float* next) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (auto j = from; j < to; ++j) {
    auto const i = at[j];
    float const sum = s.v[i] + next[i];
    float const a = Nesterov ? sum + s.scale * s.g[i] : sum;
    next[i] = rest[i] == a ? next[i] : 0.f;
  }
}

}  // namespace detail
}  // namespace gradpress::kernel
