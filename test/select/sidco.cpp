// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/sidco.hpp>

#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/estimates.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<sidco>);
static_assert(!selector<sidco&>);
static_assert(sidco::where == support::own && !sidco::fixed_size);

TEST_CASE("select::sidco obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0})
    for (auto const fit : {tail_fit::exponential, tail_fit::pareto})
      for (int const stages : {1, 8}) check_selector(sidco{.density = d, .stages = stages, .fit = fit});
}

TEST_CASE("select::sidco keeps between 0.8 k and k of the largest, whatever the distribution and the stages") {
  for (auto const fit : {tail_fit::exponential, tail_fit::pareto})
    for (int const stages : {1, 2, 8})
      check_estimates([=](double d) { return sidco{.density = d, .stages = stages, .fit = fit}; },
                      [](std::size_t k) { return k - k / 5; });
}

TEST_CASE("select::sidco meets its k on exponential magnitudes, stage by stage") {
  constexpr std::size_t n = 1000000;
  for (float const scale : {1.f, 1e-8f, 1e12f}) {
    auto x = laplace(n);
    for (auto& v : x) v *= scale;
    for (double const d : {0.001, 0.01, 0.1}) {
      auto const k = static_cast<double>(kept_of(d, n));
      auto const kept = static_cast<double>(run_select(sidco{.density = d}, x).size());
      CHECK(kept >= k - 4 * std::sqrt(k));
      CHECK(kept <= k);
    }
  }
}

namespace {
/// Magnitudes of which a share s is beyond scale (s^-shape - 1) / shape; their sign changes.
floats pareto(std::size_t n, double shape, double scale) {
  floats x(n);
  key const k = key{9}.with(n);
  for (std::size_t i = 0; i < n; ++i) {
    auto const m = static_cast<float>(scale * std::expm1(-shape * std::log(open_uniform(k, i))) / shape);
    x[i] = i % 2 == 0 ? m : -m;
  }
  return x;
}
}  // namespace

TEST_CASE("select::sidco fitted to a generalised Pareto tail meets its k where magnitudes are such, stage by stage") {
  constexpr std::size_t n = 1000000;
  for (double const shape : {-1.0, -0.3, 0.1, 0.25})
    for (double const scale : {1.0, 1e-6}) {
      auto const x = pareto(n, shape, scale);
      int cut = 0;
      for (double const d : {0.001, 0.003, 0.01, 0.03, 0.1, 0.25}) {
        CAPTURE(shape);
        CAPTURE(d);
        auto const k = static_cast<double>(kept_of(d, n));
        auto const kept = static_cast<double>(run_select(sidco{.density = d, .fit = tail_fit::pareto}, x).size());
        CHECK(kept >= 0.97 * k - 4 * std::sqrt(k));
        CHECK(kept <= k);
        cut += kept == k;
      }
      CHECK(cut < 6);  // the threshold decides, not the cut at k, nor the exact search
    }
  // Exponentials go too far where the tail ends, from the first stage on, and the exact search is left.
  auto const flat = pareto(n, -1, 1);
  CHECK(run_select(sidco{.density = 0.25}, flat).size() == n / 4);
  CHECK(run_select(sidco{.density = 0.25, .fit = tail_fit::pareto}, flat).size() != n / 4);
}

TEST_CASE("select::sidco has the k largest where its exponentials go too far") {
  floats flat(100000);
  for (std::size_t i = 0; i < flat.size(); ++i) flat[i] = static_cast<float>(i % 1000);
  CHECK(run_select(sidco{0.01}, flat) == run_select(top_k{0.01}, flat));
  floats x(1000);  // the second stage asks for more than 1, which nothing reaches, and is not taken
  for (std::size_t i = 0; i < 1000; ++i) x[i] = i % 5 < 2 ? 1.f : 0.f;
  CHECK(run_select(sidco{0.1}, x).size() == 100);
}

TEST_CASE("select::sidco has a text form and refuses knobs out of range") {
  CHECK(describe(sidco{.density = 0.25}) == "sidco(density=0.25,stages=8)");
  CHECK(describe(sidco{.density = 0.25, .fit = tail_fit::pareto}) == "sidco(density=0.25,stages=8,fit=pareto)");
  CHECK_THROWS_AS(sidco{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((sidco{.stages = 0}.check()), "sidco: stages must lie in 1 .. 64, they are 0",
                       configuration_error);
}
