// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/diana.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<diana>);
static_assert(remembers<diana>);
static_assert(!feedback<diana const>);
static_assert(diana::law == memory_law::mirrored);

namespace {
constexpr int P = 4;
constexpr std::size_t n = 64;

/// Rank p minimises |x - c_p|^2 / 2 times a curvature of its own; together they want a mean of the c_p. Starts at 0.
struct quadratics {
  std::vector<floats> curvature, centre;
  std::vector<double> optimum;
  quadratics() : optimum(n) {
    for (int p = 0; p < P; ++p) {
      centre.push_back(heavy_tailed(n, static_cast<std::uint64_t>(p) + 1));
      auto c = heavy_tailed(n, static_cast<std::uint64_t>(p) + 50);
      for (auto& x : c) x = 1 + std::abs(x);
      curvature.push_back(c);
    }
    for (std::size_t i = 0; i < n; ++i) {
      double top = 0, bottom = 0;
      for (std::size_t p = 0; p < P; ++p) {
        top += static_cast<double>(curvature[p][i]) * static_cast<double>(centre[p][i]);
        bottom += static_cast<double>(curvature[p][i]);
      }
      optimum[i] = top / bottom;
    }
  }
  /// Distance to the optimum after each of `steps` steps.
  template <class Method>
  std::vector<double> descend(Method const& method, int steps, float rate) const {
    std::vector<double> distances;
    run_ranks(P, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, 1, method);
      auto const p = static_cast<std::size_t>(c.rank());
      floats x(n);
      for (int s = 0; s < steps; ++s) {
        floats g(n);
        for (std::size_t i = 0; i < n; ++i) g[i] = curvature[p][i] * (x[i] - centre[p][i]);
        r.average(w, std::span(g));
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
          x[i] -= rate * g[i];
          auto const off = static_cast<double>(x[i]) - optimum[i];
          sum += off * off;
        }
        if (p == 0) distances.push_back(std::sqrt(sum));
      }
    });
    return distances;
  }
};
double worst_after(std::vector<double> const& d, std::size_t from) {
  return *std::max_element(d.begin() + static_cast<std::ptrdiff_t>(from), d.end());
}
double best(std::vector<double> const& d) { return *std::min_element(d.begin(), d.end()); }
}  // namespace

TEST_CASE("feedback::diana obeys the laws of feedbacks") {
  check_feedback(diana{.alpha = 0.25}, {.share = 0.25f});
  check_feedback(diana{.alpha = 1});
}

TEST_CASE("feedback::diana obeys the laws of compositions") {
  for (int const ranks : {1, 2, 3, 5}) {
    check_composition(describe_composition(compress_with(stochastic_int{.bits = 4, .block = 64}, diana{})), ranks);
    check_composition(describe_composition(compress_with(top_k{.density = 0.1}, diana{})), ranks);
    check_composition(describe_composition(compress_with(random_k{.density = 0.1, .scaled = true}, diana{})), ranks);
  }
}

TEST_CASE("feedback::diana at alpha = 1 is ef21, bit for bit, and with everything delivered plain averaging") {
  for (int const steps : {1, 2, 20}) {
    auto const one = remember(3, 200, steps, compress_with(top_k{.density = 0.1}, diana{.alpha = 1}));
    auto const other = remember(3, 200, steps, compress_with(top_k{.density = 0.1}, ef21{}));
    CHECK(identical(one, other));
    auto const whole = remember(3, 200, steps, compress_with(diana{.alpha = 1}));
    auto const plain = remember(3, 200, steps, compress_with());
    for (std::size_t i = 0; i < 200; ++i)
      CHECK(whole[0].updates.back()[i] == doctest::Approx(plain[0].updates.back()[i]).epsilon(1e-4));
  }
}

TEST_CASE(
    "feedback::diana: unequal quadratics and an unbiased code: without a memory a noise ball, with it the optimum") {
  quadratics const f;
  constexpr float rate = 0.1f;
  auto const code = stochastic_int{.bits = 2, .block = 64};
  auto const forgetful = f.descend(compress_with(code), 1500, rate);
  auto const shifted = f.descend(compress_with(code, diana{.alpha = 0.1}), 1500, rate);
  auto const exact = f.descend(compress_with(), 1500, rate);
  MESSAGE("distance to the optimum: exact ", exact.back(), "; no memory, from step 500 on, at best ",
          best({forgetful.begin() + 500, forgetful.end()}), ", at worst ", worst_after(forgetful, 500),
          "; diana at worst, from step 300 ", worst_after(shifted, 300), ", from step 1000 ",
          worst_after(shifted, 1000));
  CHECK(exact.back() < 1e-5);
  CHECK(best({forgetful.begin() + 500, forgetful.end()}) > 0.05);
  CHECK(worst_after(shifted, 1000) < 1e-5);
}

TEST_CASE("feedback::diana: saves, loads, rolls back and refuses as every memory does") {
  check_resumes(compress_with(stochastic_int{.bits = 4, .block = 64}, diana{}));
  CHECK(describe(diana{.alpha = 0.25}) == "diana(alpha=0.25)");
  for (double const alpha : {0., -1., 1.01, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(check_knobs(compress_with(diana{.alpha = alpha})), configuration_error);
  CHECK_NOTHROW(check_knobs(compress_with(diana{.alpha = 1})));
}
