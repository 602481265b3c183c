// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/atomo.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/unbiased.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<atomo>);
static_assert(!selector<atomo*>);
static_assert(atomo::where == support::own && !atomo::fixed_size);

TEST_CASE("select::atomo obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(atomo{.density = d});
}

namespace {
importance<host> settled(lone_rank& r, floats const& x, double budget) {
  importance<host> p(r.ctx, over(x));
  p.spend(budget);
  return p;
}
/// One entry at a time, as the paper has it.
double cap_by_filling(floats const& x, double budget) {
  std::vector<double> m;
  double sum = 0;
  for (auto const v : x) m.push_back(std::abs(static_cast<double>(v))), sum += m.back();
  std::sort(m.begin(), m.end(), std::greater<>());
  for (auto const v : m) {
    if (v <= sum / budget) break;
    sum -= v, budget -= 1;
  }
  return sum / budget;
}
}  // namespace

TEST_CASE("select::atomo spends its budget, at the level of the paper") {
  for (double const density : {0.01, 0.1, 0.5, 0.9})
    for (auto const& x : {heavy_tailed(33), heavy_tailed(1000), gaussian(5000), laplace(5000)}) {
      CAPTURE(density);
      lone_rank r;
      auto const budget = expected_of(density, x.size());
      auto const cap = settled(r, x, budget).cap();
      CHECK(cap == doctest::Approx(cap_by_filling(x, budget)).epsilon(1e-6));
      CHECK(expected_count(x, cap) == doctest::Approx(budget).epsilon(1e-6));
    }
}

TEST_CASE("select::atomo where no entry is certain has variance |x|_1^2 / s - |x|_2^2") {
  auto const x = gaussian(64);
  double l1 = 0;
  for (auto const v : x) l1 += std::abs(static_cast<double>(v));
  lone_rank r;
  constexpr double s = 6.4;
  auto const cap = settled(r, x, s).cap();
  CHECK(std::all_of(x.begin(), x.end(), [cap](float v) { return std::abs(v) < cap; }));
  auto const formula = l1 * l1 / s - squared(x);
  CHECK(second_moment(x, cap) - squared(x) == doctest::Approx(formula).epsilon(1e-6));
  auto const m = moments_of(atomo{.density = 0.1}, x, 20000);
  CHECK(m.variance == doctest::Approx(formula).epsilon(0.03));
  CHECK(m.count == doctest::Approx(s).epsilon(0.01));
}

TEST_CASE("select::atomo is unbiased: what it sends, times its probability, over all subsets of a small vector") {
  floats const x = {5.f, -2.f, 0.75f, 1.f, 0.f, -0.25f};
  constexpr std::size_t n = 6;
  constexpr double s = 3;
  lone_rank r;
  auto const cap = settled(r, x, s).cap();
  REQUIRE(cap == 2);  // 5 and -2 are certain: one entry is left for 0.75, 1, 0.25
  floats sent(n);
  for (std::uint64_t d = 0; d < 400; ++d) {
    r.ctx.number = d;
    auto const one = run_select(atomo{.density = 0.5}, x, r.ctx);
    for (std::size_t j = 0; j < one.indices.size(); ++j) {
      auto& v = sent[one.indices[j]];
      CHECK((v == 0 || v == one.values[j]));  // an entry is sent as one value or not at all
      v = one.values[j];
    }
  }
  std::vector<double> mean(n);
  double total = 0;
  for (unsigned subset = 0; subset < 1u << n; ++subset) {
    double chance = 1;
    for (std::size_t i = 0; i < n; ++i) {
      auto const p = probability(x[i], cap);
      chance *= (subset >> i & 1) != 0 ? p : 1 - p;
    }
    total += chance;
    for (std::size_t i = 0; i < n; ++i) mean[i] += (subset >> i & 1) != 0 ? chance * static_cast<double>(sent[i]) : 0.;
  }
  CHECK(total == doctest::Approx(1));
  for (std::size_t i = 0; i < n; ++i) CHECK(mean[i] == doctest::Approx(static_cast<double>(x[i])));
}

TEST_CASE("select::atomo sends an empty draw as it is: (3, 1) with one entry on average keeps its mean") {
  floats const x = {3.f, 1.f};
  auto const m = moments_of(atomo{.density = 0.5}, x, 40000);
  CHECK(m.empty == doctest::Approx(0.25 * 0.75).epsilon(0.03));
  CHECK(m.mean[0] == doctest::Approx(3).epsilon(0.015));
  CHECK(m.mean[1] == doctest::Approx(1).epsilon(0.03));
  // Drawing again until something comes would multiply both by this, as the numbers of those draws that are not empty say.
  CHECK(1 / (1 - m.empty) == doctest::Approx(1.23).epsilon(0.01));
}

TEST_CASE("select::atomo at its edges") {
  lone_rank r;
  floats few(100);
  few[3] = 1.f, few[50] = -2.f, few[99] = 1e-30f;
  auto const all = run_select(atomo{.density = 0.05}, few, r.ctx);  // five entries to spend, and three there
  CHECK(all.indices == std::vector<index_t>{3, 50, 99});
  CHECK(identical(all.values, {1.f, -2.f, 1e-30f}));
  CHECK(run_select(atomo{}, floats(100)).empty());
  CHECK(run_select(atomo{.density = 1}, heavy_tailed(100)).size() == 100);
  // 0.29 * 100 is a little less than 29 in double: 29 equal entries spend it all, and are no reason to send the dust.
  floats dusty(100, 1e-20f);
  std::vector<index_t> clean;
  for (index_t i = 3; i < 90; i += 3) dusty[i] = -7.f, clean.push_back(i);
  REQUIRE(clean.size() == 29);
  CHECK(run_select(atomo{.density = 0.29}, dusty, r.ctx).indices == clean);
}

TEST_CASE("select::atomo has a text form and refuses impossible densities") {
  CHECK(describe(atomo{.density = 0.25}) == "atomo(density=0.25)");
  CHECK_THROWS_WITH_AS(atomo{.density = 2}.check(), "atomo: density must lie in (0, 1], it is 2.000000",
                       configuration_error);
}
