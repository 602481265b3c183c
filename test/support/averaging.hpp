// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of exchanges share: one step of P ranks over threads, and everything that came of it.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include "lone_rank.hpp"

#include <functional>
#include <map>
#include <string>

namespace gradpress::test {

struct step_of_ranks {
  std::vector<floats> updates;                          ///< a rank
  std::vector<std::map<std::string, floats>> memories;  ///< a rank
  std::vector<std::uint64_t> bytes, messages;           ///< a rank, of gradients
};

/// Averages gradients[rank] by `method` in one step.
template <class Method>
step_of_ranks average_once(std::vector<floats> const& gradients, Method const& method) {
  auto const P = gradients.size();
  step_of_ranks all{gradients, std::vector<std::map<std::string, floats>>(P), std::vector<std::uint64_t>(P),
                    std::vector<std::uint64_t>(P)};
  run_ranks(static_cast<int>(P), [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c, {.seed = 3}};
    auto const w = r.add("w", gradients[p].size(), 1, method);
    r.average(w, std::span(all.updates[p]));
    r.visit(w, [&](char const* name, auto const& b) { all.memories[p][name] = copied(b); });
    all.bytes[p] = r.stats().bytes_sent;
    all.messages[p] = r.stats().messages;
  });
  for (auto const& u : all.updates) CHECK(identical(u, all.updates[0]));  // replicas never drift
  return all;
}
inline std::vector<floats> gradients_of(std::size_t P, std::size_t n) {
  std::vector<floats> g;
  for (std::size_t p = 0; p < P; ++p) g.push_back(heavy_tailed(n, p + 1));
  return g;
}
/// ((first + second) + ...) / P in float, in rank order.
inline floats mean_in_order(std::vector<floats> const& all) {
  auto mean = all[0];
  for (std::size_t p = 1; p < all.size(); ++p) mean = plus(mean, all[p]);
  for (auto& m : mean) m /= static_cast<float>(all.size());
  return mean;
}
/// Sum over elements of |sum of signals - P update - sum of residuals|: what has vanished.
inline double vanished(std::vector<floats> const& gradients, step_of_ranks const& step) {
  double all = 0;
  auto const P = gradients.size();
  for (std::size_t i = 0; i < gradients[0].size(); ++i) {
    double left = -static_cast<double>(P) * static_cast<double>(step.updates[0][i]);
    for (std::size_t p = 0; p < P; ++p)
      left += static_cast<double>(gradients[p][i]) - static_cast<double>(step.memories[p].at("residual")[i]);
    all += std::abs(left);
  }
  return all;
}

}  // namespace gradpress::test
