// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/sampled_top_k.hpp>

#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;
static_assert(selector<sampled_top_k>);
static_assert(!selector<candidates<host>>);
static_assert(sampled_top_k::where == support::own && !sampled_top_k::fixed_size);

TEST_CASE("select::sampled_top_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(sampled_top_k{.density = d});
}

namespace {
void check_count(sampled_top_k const& s, floats const& x) {
  auto const k = kept_of(s.density, x.size());
  CAPTURE(s.density);
  CAPTURE(s.sample);
  for (std::uint64_t number = 0; number < 5; ++number) {
    lone_rank r;
    r.ctx.number = number;
    auto const kept = run_select(s, x, r.ctx).indices;
    CHECK(kept.size() <= k);
    CHECK(kept.size() >= std::min(k - k / 5, nonzeros(x)));
    CHECK(are_largest(kept, x));
    CHECK(std::none_of(kept.begin(), kept.end(), [&](index_t i) { return x[i] == 0; }));
  }
}
void check_counts(floats const& x) {
  for (double d : {0.0004, 0.001, 0.01, 0.1})
    for (double share : {0.0001, 0.01, 1.0}) check_count({.density = d, .sample = share}, x);
}
}  // namespace

TEST_CASE("select::sampled_top_k keeps between 0.8 k and k of the largest") {
  constexpr std::size_t n = 200003;
  SUBCASE("Gaussian") { check_counts(gaussian(n)); }
  SUBCASE("Laplace") { check_counts(laplace(n)); }
  SUBCASE("constant") { check_counts(floats(n, -2.f)); }
  SUBCASE("all zero") { check_counts(floats(n)); }
  SUBCASE("one hot") { check_counts(one_hot(n)); }
  SUBCASE("most samples are zero") { check_counts(mostly_zero(n, 50)); }
  SUBCASE("fewer entries than k are not zero") { check_counts(mostly_zero(n, 5000)); }
  SUBCASE("runs that no sample of runs foresees") { check_counts(values_of({data::blocks, n}, n)); }
  SUBCASE("layers of different scale") { check_counts(values_of({data::layers, n}, n)); }
}

TEST_CASE("select::sampled_top_k sends what little there is") {
  CHECK(run_select(sampled_top_k{}, floats(100000)).empty());
  CHECK(run_select(sampled_top_k{}, one_hot(90000)) == kept_t{30000});
}

TEST_CASE("select::sampled_top_k cuts off the smallest candidates and not the last ones") {
  floats x(50000, 1.f);  // every sample says 1, which all reach
  for (std::size_t i = 0; i < 500; ++i) x[x.size() - 1 - 3 * i] = 2.f + static_cast<float>(i);
  CHECK(run_select(sampled_top_k{0.01}, x) == run_select(top_k{0.01}, x));
  // Over many draws, halves of equal distribution are kept equally often.
  auto const g = gaussian(100000);
  sampled_top_k const s{.density = 0.01, .sample = 0.001};
  double low = 0, high = 0;
  for (std::uint64_t number = 0; number < 20; ++number) {
    lone_rank r;
    r.ctx.number = number;
    for (auto const i : run_select(s, g, r.ctx).indices) (i < g.size() / 2 ? low : high) += 1;
  }
  auto exact_low = 0., exact = 0.;
  for (auto const i : run_select(top_k{0.01}, g)) exact_low += i < g.size() / 2, exact += 1;
  CHECK(low / (low + high) == doctest::Approx(exact_low / exact).epsilon(0.02));
}

TEST_CASE("select::sampled_top_k is exact where the sample is everything") {
  auto const x = heavy_tailed(5000);
  CHECK(run_select(sampled_top_k{.density = 0.05, .sample = 1}, x) == run_select(top_k{0.05}, x));
  CHECK(run_select(sampled_top_k{.density = 0.001}, x) == run_select(top_k{0.001}, x));  // 64 / density > n
}

TEST_CASE("select::sampled_top_k draws anew for every rank and step, and repeats itself otherwise") {
  auto const x = gaussian(100000);
  sampled_top_k const s{.density = 0.02, .sample = 0.001};
  auto const count = [&](int rank, std::uint64_t number) {
    lone_rank r(rank, 8);
    r.ctx.number = number;
    return run_select(s, x, r.ctx).indices.size();
  };
  std::vector<std::size_t> by_step, by_rank;
  for (int i = 0; i < 8; ++i)
    by_step.push_back(count(0, static_cast<std::uint64_t>(i))), by_rank.push_back(count(i, 0));
  CHECK(std::adjacent_find(by_step.begin(), by_step.end(), std::not_equal_to<>{}) != by_step.end());
  CHECK(std::adjacent_find(by_rank.begin(), by_rank.end(), std::not_equal_to<>{}) != by_rank.end());
  CHECK(count(0, 0) == by_step[0]);
}

TEST_CASE("select::sampled_top_k gives the same indices on every path") {
  auto const x = laplace(100003);
  auto const once = run_select(sampled_top_k{.density = 0.02}, x);
  for_each_isa([&] { CHECK(run_select(sampled_top_k{.density = 0.02}, x) == once); });
}

TEST_CASE("select::sampled_top_k finds what is not finite, sampled or not") {
  for (std::size_t const at : {0u, 12345u, 49999u})
    for (float const bad : not_finite) {
      auto x = gaussian(50000);
      x[at] = bad;
      lone_rank r;
      CHECK_FALSE(run_select(sampled_top_k{0.02}, x, r.ctx).finite);
    }
}

TEST_CASE("select::sampled_top_k has a text form and refuses knobs out of range") {
  CHECK(describe(sampled_top_k{.density = 0.25, .sample = 0.5}) == "sampled_top_k(density=0.25,sample=0.5)");
  CHECK_THROWS_AS(sampled_top_k{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((sampled_top_k{.sample = 0}.check()), "sampled_top_k: sample must lie in (0, 1], it is 0.000000",
                       configuration_error);
  CHECK_THROWS_AS((sampled_top_k{.sample = 1.5}.check()), configuration_error);
}
