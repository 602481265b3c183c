// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/top_k.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace gradpress;

// Two workers with f(u, v) = +-10 u + v^2/2: what one wants of u the other undoes, and of v both want the same. Alone,
// each finds its u the larger. Together they should go to v = 0.

namespace {
struct walk {
  std::vector<double> v;  ///< after each step
  double u = 0;
};
template <class Method>
walk descend(Method const& method, int steps, double rate) {
  walk all[2];
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 2, 1, method);
    float u = 0, v = 1;
    auto& mine = all[c.rank()];
    for (int s = 0; s < steps; ++s) {
      std::vector<float> g = {c.rank() == 0 ? 10.f : -10.f, v};
      r.average(w, std::span(g));
      u -= static_cast<float>(rate) * g[0], v -= static_cast<float>(rate) * g[1];
      mine.v.push_back(static_cast<double>(v));
    }
    mine.u = static_cast<double>(u);
  });
  CHECK(all[0].v == all[1].v);
  return all[0];
}
double mean_size(std::vector<double> const& v, std::size_t from) {
  double sum = 0;
  for (auto i = from; i < v.size(); ++i) sum += std::abs(v[i]);
  return sum / static_cast<double>(v.size() - from);
}
constexpr int steps = 2000;
constexpr double rate = 0.05;
}  // namespace

TEST_CASE("convergence: top-k of one entry without a memory never sends what all workers share") {
  auto const w = descend(compress_with(top_k{.density = 0.5}), steps, rate);
  CHECK(w.v.back() == 1);
  CHECK(w.u == 0);
}

TEST_CASE("convergence: with error feedback it does, and stays near the optimum") {
  auto const w = descend(compress_with(top_k{.density = 0.5}, error_feedback{}), steps, rate);
  double worst = 0;
  for (std::size_t i = steps / 2; i < w.v.size(); ++i) worst = std::max(worst, std::abs(w.v[i]));
  MESSAGE("|v| on average over the second half: ", mean_size(w.v, steps / 2), ", at worst ", worst, ", at the end ",
          w.v.back());
  CHECK(mean_size(w.v, steps / 2) < 0.15);
  CHECK(worst < 0.55);  // what is sent of v is little more than 10, of which the rate makes half
  CHECK(std::abs(w.v.back()) < 0.1);
}

TEST_CASE("convergence: averaging in full is what both are measured by") {
  CHECK(std::abs(descend(compress_with(), steps, rate).v.back()) < 1e-6);
}
