// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/ef21_sgdm.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<ef21_sgdm>);
static_assert(remembers<ef21_sgdm>);
static_assert(!feedback<ef21_sgdm const>);
static_assert(ef21_sgdm::law == memory_law::mirrored);

namespace {
/// The mean of |x|^2 over the second half of a descent of |x|^2 / 2 in the plane, where each gradient has one of three
/// noises that cancel on average: (2, 0), (0, 1), (-2, -1), times sqrt(0.3), so that their variance is 1. The
/// largest entry is sent: the noise of the first hides the second.
template <class Method>
double floor_of(Method const& method, int steps, double rate) {
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", 2, 1, method);
  key const draws{123};
  double x[2] = {0.1, 0.1}, sum = 0;
  double const s = std::sqrt(0.3), noises[3][2] = {{2 * s, 0}, {0, s}, {-2 * s, -s}};
  std::vector<float> g(2);
  for (int t = 0; t < steps; ++t) {
    auto const& noise = noises[std::min(2, static_cast<int>(3 * draws.uniform(static_cast<std::uint64_t>(t))))];
    for (std::size_t i = 0; i < 2; ++i) g[i] = static_cast<float>(x[i] + noise[i]);
    r.average(w, std::span(g));
    for (std::size_t i = 0; i < 2; ++i) x[i] -= rate * static_cast<double>(g[i]);
    if (t >= steps / 2) sum += x[0] * x[0] + x[1] * x[1];
  }
  return sum / (steps - steps / 2);
}
}  // namespace

TEST_CASE("feedback::ef21_sgdm obeys the laws of feedbacks") {
  check_feedback(ef21_sgdm{.eta = 0.25}, {.first = 0.25f});
  check_feedback(ef21_sgdm{.eta = 1});
}

TEST_CASE("feedback::ef21_sgdm obeys the laws of compositions") {
  for (int const ranks : {1, 2, 3, 5}) {
    check_composition(describe_composition(compress_with(top_k{.density = 0.1}, ef21_sgdm{})), ranks);
    check_composition(describe_composition(compress_with(sign{.block = 64}, ef21_sgdm{})), ranks);
    check_composition(describe_composition(compress_with(low_rank{.rank = 2, .minimum_rate = 0}, ef21_sgdm{})), ranks);
  }
}

TEST_CASE("feedback::ef21_sgdm at eta = 1 is ef21, bit for bit") {
  for (int const steps : {1, 2, 20}) {
    auto one = remember(3, 200, steps, compress_with(top_k{.density = 0.1}, ef21_sgdm{.eta = 1}));
    for (std::size_t p = 0; p < 3; ++p) {
      CHECK(identical(one[p].state.at("average"), gradient_at(static_cast<int>(p), steps - 1, 200)));
      one[p].state.erase("average");
    }
    CHECK(identical(one, remember(3, 200, steps, compress_with(top_k{.density = 0.1}, ef21{}))));
  }
}

TEST_CASE("feedback::ef21_sgdm with everything delivered hands out the average of the mean gradient") {
  constexpr int P = 3, steps = 20;
  constexpr std::size_t n = 100;
  auto const got = remember(P, n, steps, compress_with(ef21_sgdm{.eta = 0.3}));
  std::vector<double> average(n);
  for (int s = 0; s < steps; ++s) {
    std::vector<double> mean(n);
    for (int p = 0; p < P; ++p) {
      auto const g = gradient_at(p, s, n);
      for (std::size_t i = 0; i < n; ++i) mean[i] += static_cast<double>(g[i]) / P;
    }
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
      average[i] += 0.3 * (mean[i] - average[i]);
      worst =
          std::max(worst, std::abs(static_cast<double>(got[0].updates[static_cast<std::size_t>(s)][i]) - average[i]));
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("feedback::ef21_sgdm: noise on one entry hides another: ef21 has a floor for any rate, ef21_sgdm none") {
  auto const method = [](auto memory) { return compress_with(top_k{.density = 0.5}, memory); };
  struct setting {
    double rate;
    int steps;
  };
  for (auto const& [rate, steps] : {setting{1e-2, 20000}, setting{2e-4, 60000}}) {
    auto const stuck = floor_of(method(ef21{}), steps, rate);
    auto const free = floor_of(method(ef21_sgdm{.eta = 0.05}), steps, rate);
    MESSAGE("rate ", rate, ": mean squared gradient ", stuck, " with ef21, ", free, " with ef21_sgdm");
    CHECK(stuck > 0.003);
    CHECK(free < stuck / 1.5);
    if (rate < 1e-3) CHECK(free < 4e-4);
  }
}

TEST_CASE("feedback::ef21_sgdm: saves, loads, rolls back and refuses as every memory does") {
  check_resumes(compress_with(top_k{.density = 0.1}, ef21_sgdm{}));
  CHECK(describe(ef21_sgdm{.eta = 0.25}) == "ef21_sgdm(eta=0.25)");
  for (double const eta : {0., -1., 1.01, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(check_knobs(compress_with(ef21_sgdm{.eta = eta})), configuration_error);
  CHECK_NOTHROW(check_knobs(compress_with(ef21_sgdm{.eta = 1})));
}
