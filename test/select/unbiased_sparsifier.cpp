// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/unbiased_sparsifier.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/unbiased.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<unbiased_sparsifier> && selector<unbiased_density>);
static_assert(!selector<importance<host>>);
static_assert(unbiased_sparsifier::where == support::own && !unbiased_sparsifier::fixed_size);

TEST_CASE("select::unbiased_sparsifier obeys the laws of selectors") {
  for (double v : {0., 0.5, 1., 100.}) check_selector(unbiased_sparsifier{.variance = v});
  for (double d : {0.01, 0.1, 1.}) check_selector(unbiased_density{.density = d});
}

namespace {
/// By sorting, as the paper has it: the least k for which the k largest may be the certain ones.
double cap_by_sorting(floats const& x, double variance) {
  std::vector<double> m;
  for (auto const v : x) m.push_back(std::abs(static_cast<double>(v)));
  std::sort(m.begin(), m.end(), std::greater<>());
  double sum = 0, squares = 0;
  for (auto const v : m) sum += v, squares += v * v;
  auto const added = variance * squares;
  for (auto const v : m) {
    if (v * sum <= added + squares) break;
    sum -= v, squares -= v * v;
  }
  return (added + squares) / sum;
}
importance<host> settled(lone_rank& r, floats const& x, double variance) {
  importance<host> p(r.ctx, over(x));
  auto const added = variance * p.sums().rest_squared;
  p.lower([=](auto const& s) { return (added + s.rest_squared) / s.rest; });
  return p;
}
}  // namespace

TEST_CASE(
    "select::unbiased_sparsifier: sum of x^2/p = (1 + variance) |x|^2, and the certain entries are those of the "
    "paper") {
  for (double const variance : {0.01, 0.1, 1., 4., 100.})
    for (auto const& x : {heavy_tailed(33), heavy_tailed(1000), gaussian(5000), laplace(5000), mostly_zero(5000, 7)}) {
      CAPTURE(variance);
      lone_rank r;
      auto const p = settled(r, x, variance);
      CHECK(p.cap() == doctest::Approx(cap_by_sorting(x, variance)).epsilon(1e-6));
      CHECK(second_moment(x, p.cap()) == doctest::Approx((1 + variance) * squared(x)).epsilon(1e-6));
    }
}

TEST_CASE("select::unbiased_sparsifier sends x where that is certain, and one magnitude with the sign elsewhere") {
  auto const x = heavy_tailed(1000);
  lone_rank r;
  auto const cap = settled(r, x, 0.1).cap();
  auto const sent = run_select(unbiased_sparsifier{.variance = 0.1}, x, r.ctx);
  std::size_t certain = 0, there = 0;
  for (auto const v : x) certain += std::abs(v) >= cap ? 1u : 0u;
  for (std::size_t j = 0; j < sent.indices.size(); ++j) {
    auto const v = x[sent.indices[j]];
    there += std::abs(v) >= cap ? 1u : 0u;
    CHECK(sent.values[j] == (std::abs(v) >= cap ? v : std::copysign(cap, v)));
  }
  CHECK(certain > 0);
  CHECK(there == certain);
  CHECK(sent.indices.size() > certain);
}

TEST_CASE("select::unbiased_sparsifier is unbiased, with the variance that was asked for") {
  auto const x = heavy_tailed(33);
  auto const m = moments_of(unbiased_sparsifier{.variance = 1}, x, 20000);
  lone_rank r;
  check_mean(m, x, settled(r, x, 1).cap());
  CHECK(m.variance == doctest::Approx(squared(x)).epsilon(0.03));
  auto const little = moments_of(unbiased_sparsifier{.variance = 0.1}, x, 20000);
  CHECK(little.variance == doctest::Approx(0.1 * squared(x)).epsilon(0.03));
  CHECK(little.count > m.count);
}

TEST_CASE("select::unbiased_density is unbiased too, and rounds take it to its density from below") {
  auto const x = heavy_tailed(1000);
  double before = 0;
  for (int const rounds : {0, 1, 2, 5, 100}) {
    lone_rank r;
    importance<host> p(r.ctx, over(x));
    p.spend(400, 1 + rounds);
    auto const expected = expected_count(x, p.cap());
    CHECK(expected >= before);
    CHECK(expected < 400.001);
    before = expected;
  }
  CHECK(before == doctest::Approx(400).epsilon(1e-6));
  floats const small = heavy_tailed(33);
  for (int const rounds : {0, 2}) {
    unbiased_density const s{.density = 0.3, .rounds = rounds};
    lone_rank r;
    importance<host> p(r.ctx, over(small));
    p.spend(0.3 * 33, 1 + rounds);
    auto const m = moments_of(s, small, 20000);
    check_mean(m, small, p.cap());
    CHECK(m.count == doctest::Approx(expected_count(small, p.cap())).epsilon(0.02));
    CHECK(m.variance == doctest::Approx(second_moment(small, p.cap()) - squared(small)).epsilon(0.03));
  }
}

TEST_CASE("select::unbiased_sparsifier at its edges") {
  lone_rank r;
  floats x = heavy_tailed(100);
  x[7] = 0, x[8] = -0.f;
  auto const all = run_select(unbiased_sparsifier{.variance = 0}, x, r.ctx);
  REQUIRE(all.indices.size() == 98);  // no variance: everything but zeros, as it is
  for (std::size_t j = 0; j < 98; ++j) CHECK(all.values[j] == x[all.indices[j]]);
  CHECK(run_select(unbiased_sparsifier{}, floats(100)).empty());
  floats const tiny(10, std::numeric_limits<float>::denorm_min());
  CHECK(run_select(unbiased_sparsifier{}, tiny, r.ctx).finite);
  CHECK_FALSE(run_select(unbiased_sparsifier{.variance = 10}, floats(10, 2e38f), r.ctx).finite);  // 2e39 is no float
  CHECK(run_select(unbiased_sparsifier{.variance = 0.1}, floats(10, 2e38f), r.ctx).finite);
  // A single entry among zeros is sent with probability 1/(1 + variance), and else an empty message.
  floats hot(50);
  hot[20] = -3;
  auto const m = moments_of(unbiased_sparsifier{.variance = 1}, hot, 4000);
  CHECK(m.empty == doctest::Approx(0.5).epsilon(0.1));
  CHECK(m.mean[20] == doctest::Approx(-3).epsilon(0.1));
}

TEST_CASE("select::unbiased_sparsifier draws anew for every rank and step, and the same on every path") {
  auto const x = gaussian(100003);
  unbiased_sparsifier const s{.variance = 10};
  lone_rank a(0, 2), b(1, 2), c(0, 2);
  c.ctx.number = 1;
  auto const once = run_select(s, x, a.ctx);
  CHECK(run_select(s, x, b.ctx).indices != once.indices);
  CHECK(run_select(s, x, c.ctx).indices != once.indices);
  for_each_isa([&] {
    auto const again = run_select(s, x, a.ctx);
    CHECK(again.indices == once.indices);
    CHECK(identical(again.values, once.values));
  });
}

TEST_CASE("select::unbiased_sparsifier has a text form and refuses knobs out of range") {
  CHECK(describe(unbiased_sparsifier{.variance = 0.5}) == "unbiased_sparsifier(variance=0.5)");
  CHECK(describe(unbiased_density{.density = 0.25}) == "unbiased_density(density=0.25,rounds=2)");
  CHECK_THROWS_WITH_AS(unbiased_sparsifier{.variance = -1}.check(),
                       "unbiased_sparsifier: variance must lie in [0, 1e12), it is -1.000000", configuration_error);
  CHECK_THROWS_AS(unbiased_sparsifier{.variance = std::nan("")}.check(), configuration_error);
  CHECK_THROWS_AS(unbiased_density{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((unbiased_density{.rounds = -1}.check()),
                       "unbiased_density: rounds must lie in 0 .. 1000, they are -1", configuration_error);
}
