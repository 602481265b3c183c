// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the update is where everything is delivered, by the memory. "" where it is.

#include "memory_laws.hpp"

#include <string>
#include <vector>

namespace gradpress::test {

/// The mean of what each rank makes of its own gradients, step by step.
template <class Rank>
std::string update_is(std::vector<life> const& all, Rank const& rank) {
  auto const n = all[0].updates[0].size();
  std::vector<doubles> mean(life_steps, doubles(n));
  for (std::size_t p = 0; p < all.size(); ++p) {
    doubles kept(n);
    for (std::size_t s = 0; s < life_steps; ++s) {
      doubles g(n);
      add_to(g, table_gradient(p, s));
      auto const sent = rank(g, kept);
      for (std::size_t i = 0; i < n; ++i) mean[s][i] += sent[i] / static_cast<double>(all.size());
    }
  }
  for (std::size_t s = 0; s < life_steps; ++s) {
    doubles is(n);
    add_to(is, all[0].updates[s]);
    if (auto bad = compare(is, mean[s], "where everything is delivered the update is another", s, 1e-5); !bad.empty())
      return bad;
  }
  return {};
}
/// Plain averaging: error_feedback, loco, ef21, diana, none.
template <class F>
std::string not_plain(F const&, std::vector<life> const& all) {
  return update_is(all, [](doubles const& g, doubles&) { return g; });
}
inline std::string averaged(double share, std::vector<life> const& all) {
  return update_is(all, [&](doubles const& g, doubles& m) {
    for (std::size_t i = 0; i < g.size(); ++i) m[i] += share * (g[i] - m[i]);
    return m;
  });
}
inline std::string not_plain(ef21_sgdm const& f, std::vector<life> const& all) { return averaged(f.eta, all); }
inline std::string not_plain(local_momentum const& f, std::vector<life> const& all) {
  return averaged(1 - f.beta, all);
}
/// Plain SGD with masking, which forgets the momentum of what was delivered; else momentum SGD. Clipped.
inline std::string not_plain(momentum_correction const& f, std::vector<life> const& all) {
  return update_is(all, [&](doubles g, doubles& u) {
    auto const scale = scale_of(f, floats(g.begin(), g.end()), all.size());
    for (std::size_t i = 0; i < g.size(); ++i) {
      g[i] *= scale;
      u[i] = f.masking ? g[i] : f.nesterov ? f.momentum * (u[i] + g[i]) : f.momentum * u[i] + g[i];
      g[i] = f.nesterov && !f.masking ? u[i] + g[i] : u[i];
    }
    return g;
  });
}

}  // namespace gradpress::test
