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
    for (int const stages : {1, 8}) check_selector(sidco{.density = d, .stages = stages});
}

TEST_CASE("select::sidco keeps between 0.8 k and k of the largest, whatever the distribution and the stages") {
  for (int const stages : {1, 2, 8})
    check_estimates([stages](double d) { return sidco{.density = d, .stages = stages}; },
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
  CHECK_THROWS_AS(sidco{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((sidco{.stages = 0}.check()), "sidco: stages must lie in 1 .. 64, they are 0",
                       configuration_error);
}
