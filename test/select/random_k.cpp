// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/random_k.hpp>

#include "../concepts/selector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<random_k>);
static_assert(!selector<random_k const>);
static_assert(random_k::where == support::shared && random_k::fixed_size);

TEST_CASE("select::random_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(random_k{.density = d});
}

TEST_CASE("select::random_k includes every entry equally often") {
  constexpr std::size_t n = 60, k = 15;
  constexpr int draws = 20000;
  std::vector<int> hits(n), pairs(n);
  lone_rank r;
  for (int s = 0; s < draws; ++s) {
    r.ctx.number = static_cast<std::uint64_t>(s);
    auto const kept = run_select(random_k{.density = 0.25}, floats(n), r.ctx).indices;
    REQUIRE(kept.size() == k);
    bool const first = kept[0] == 0;
    for (auto const i : kept) ++hits[i], pairs[i] += first ? 1 : 0;
  }
  // Binomial: five standard deviations. Chi-square of n - 1 degrees, shrunk by 1 - k/n since draws are without
  // replacement.
  double chi = 0;
  constexpr double p = 0.25, expected = draws * p, deviation = draws * p * (1 - p);
  for (auto const h : hits) {
    CHECK(std::abs(h - expected) < 5 * std::sqrt(deviation));
    chi += (h - expected) * (h - expected) / deviation;
  }
  CHECK(chi < 60 + 5 * std::sqrt(2. * 60));
  CHECK(chi > 60 - 5 * std::sqrt(2. * 60));
  // Given one entry, the others follow with (k - 1)/(n - 1): no pair sticks together.
  double const both = expected * (k - 1) / (n - 1);
  for (std::size_t i = 1; i < n; ++i) CHECK(std::abs(pairs[i] - both) < 5 * std::sqrt(both));
}

TEST_CASE("select::random_k draws anew for every step, tensor, seed and phase, and only then") {
  lone_rank r;
  floats const x(1000);
  random_k const s{.density = 0.1};
  auto const kept = run_select(s, x, r.ctx).indices;
  auto const differs = [&](auto change) {
    lone_rank other(3, 8);
    change(other.ctx);
    return run_select(s, x, other.ctx).indices != kept;
  };
  CHECK(differs([](auto& c) { c.number = 1; }));
  CHECK(differs([](auto& c) { c.tensor = 5; }));
  CHECK(differs([](auto& c) { c.seed = 12; }));
  CHECK(differs([](auto& c) { c.phase = 1; }));
  CHECK_FALSE(differs([](auto&) {}));
}

TEST_CASE("select::random_k has a text form and refuses impossible densities") {
  CHECK(describe(random_k{.density = 0.25}) == "random_k(density=0.25)");
  CHECK_THROWS_AS(random_k{.density = 1.01}.check(), configuration_error);
}
