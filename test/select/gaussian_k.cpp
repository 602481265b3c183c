// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/gaussian_k.hpp>

#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/estimates.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<gaussian_k>);
static_assert(!selector<gaussian_k&>);
static_assert(gaussian_k::where == support::own && !gaussian_k::fixed_size);

TEST_CASE("select::gaussian_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(gaussian_k{.density = d});
}

TEST_CASE("select::gaussian_k: the tail of a normal distribution") {
  CHECK(detail::normal_tail(1) == doctest::Approx(0));
  CHECK(detail::normal_tail(0.31731050786) == doctest::Approx(1));
  CHECK(detail::normal_tail(0.05) == doctest::Approx(1.959963985));
  CHECK(detail::normal_tail(0.001) == doctest::Approx(3.290526731));
}

TEST_CASE("select::gaussian_k keeps between 3/4 k and k of the largest, whatever the distribution") {
  check_estimates([](double d) { return gaussian_k{.density = d}; }, [](std::size_t k) { return k - k / 4; });
}

TEST_CASE("select::gaussian_k meets its k on normal numbers without an exact search") {
  constexpr std::size_t n = 1000000;
  for (float const scale : {1.f, 1e-8f, 1e12f}) {
    auto x = gaussian(n);
    for (auto& v : x) v *= scale;
    for (double const d : {0.001, 0.01, 0.1}) {
      auto const k = static_cast<double>(kept_of(d, n));
      auto const kept = run_select(gaussian_k{.density = d}, x);
      CHECK(static_cast<double>(kept.size()) >= k - 4 * std::sqrt(k));  // the estimate, and not the search, which has k
      CHECK(static_cast<double>(kept.size()) <= k);
    }
  }
}

TEST_CASE("select::gaussian_k has the k largest where tails are heavier, and where they end early") {
  auto const heavy = laplace(100000);
  CHECK(run_select(gaussian_k{0.01}, heavy) == run_select(top_k{0.01}, heavy));
  floats flat(100000);
  for (std::size_t i = 0; i < flat.size(); ++i) flat[i] = static_cast<float>(i % 1000);
  for (double const d : {0.02, 0.001})  // a lowered threshold, and none: exact
    CHECK(run_select(gaussian_k{d}, flat) == run_select(top_k{d}, flat));
}

TEST_CASE("select::gaussian_k has a text form and refuses impossible densities") {
  CHECK(describe(gaussian_k{.density = 0.25}) == "gaussian_k(density=0.25)");
  CHECK_THROWS_WITH_AS(gaussian_k{.density = 0}.check(), "gaussian_k: density must lie in (0, 1], it is 0.000000",
                       configuration_error);
}
