// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a random selector sends on average, and what formulas say of p = min(1, |x| / cap). Include selector_laws.hpp
/// first.

#include "lone_rank.hpp"

namespace gradpress::test {

/// Over draws: the mean of each entry, the variance summed over them, the mean number of entries, and how often there
/// was none.
struct moments {
  std::vector<double> mean;
  double variance = 0, count = 0, empty = 0;
  int draws = 0;
};
template <class S>
moments moments_of(S const& s, floats const& x, int draws) {
  moments m{std::vector<double>(x.size())};
  m.draws = draws;
  lone_rank r;
  for (int d = 0; d < draws; ++d) {
    r.ctx.number = static_cast<std::uint64_t>(d);
    auto const sent = run_select(s, x, r.ctx);
    auto error = squared(x);  // of the entries that are not sent, 0 - x
    for (std::size_t j = 0; j < sent.indices.size(); ++j) {
      auto const v = static_cast<double>(sent.values[j]), there = static_cast<double>(x[sent.indices[j]]);
      m.mean[sent.indices[j]] += v / draws;
      error += (v - there) * (v - there) - there * there;
    }
    m.variance += error / draws;
    m.count += static_cast<double>(sent.indices.size()) / draws;
    m.empty += sent.indices.empty() ? 1. / draws : 0.;
  }
  return m;
}

inline double probability(float x, float cap) {
  return std::min(1., std::abs(static_cast<double>(x)) / static_cast<double>(cap));
}
inline double expected_count(floats const& x, float cap) {
  double sum = 0;
  for (auto const v : x) sum += probability(v, cap);
  return sum;
}
/// Sum of x^2/p: the expectation of what is sent, squared.
inline double second_moment(floats const& x, float cap) {
  double sum = 0;
  for (auto const v : x)
    if (v != 0) sum += static_cast<double>(v) * static_cast<double>(v) / probability(v, cap);
  return sum;
}
/// The mean is x, within five standard deviations: each entry is x/p or 0.
inline void check_mean(moments const& m, floats const& x, float cap) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    auto const v = static_cast<double>(x[i]);
    auto const deviation = v == 0 ? 0. : std::abs(v) * std::sqrt((1 / probability(x[i], cap) - 1) / m.draws);
    CAPTURE(i);
    CHECK(std::abs(m.mean[i] - v) <= 5 * deviation + 1e-6);
  }
}

}  // namespace gradpress::test
