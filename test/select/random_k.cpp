// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/random_k.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/averaging.hpp"
#include "../support/unbiased.hpp"

#include <set>

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<random_k>);
static_assert(!selector<random_k const>);
static_assert(random_k::where == support::shared && random_k::fixed_size);
static_assert(own_random_k::where == support::own && own_random_k::fixed_size);

TEST_CASE("select::random_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0})
    for (bool const scaled : {false, true}) {
      check_selector(random_k{.density = d, .scaled = scaled});
      check_selector(own_random_k{.density = d, .scaled = scaled});
    }
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

TEST_CASE("select::own_random_k draws anew for every rank too") {
  floats const x(1000, 1.f);
  std::set<std::vector<index_t>> draws;
  for (int rank = 0; rank < 4; ++rank)
    for (std::uint64_t number = 0; number < 2; ++number) {
      lone_rank r(rank, 4);
      r.ctx.number = number;
      draws.insert(run_select(own_random_k{.density = 0.1}, x, r.ctx).indices);
    }
  CHECK(draws.size() == 8);
}

namespace {
template <class S>
void check_unbiased(S const& s) {
  constexpr int draws = 20000;
  auto const x = heavy_tailed(60);
  auto const m = moments_of(s, x, draws);
  auto const omega = 1 / s.density - 1;
  for (std::size_t i = 0; i < x.size(); ++i)
    CHECK(std::abs(m.mean[i] - static_cast<double>(x[i])) <
          4.5 * std::abs(static_cast<double>(x[i])) * std::sqrt(omega / draws) + 1e-9);
  CHECK(m.variance == doctest::Approx(omega * squared(x)).epsilon(0.02));
}
}  // namespace

TEST_CASE("select::random_k, scaled, is unbiased with variance (n/k - 1) |x|^2") {
  check_unbiased(random_k{.density = 0.25, .scaled = true});
  check_unbiased(own_random_k{.density = 0.25, .scaled = true});
  auto const x = heavy_tailed(60);
  auto const m = moments_of(random_k{.density = 0.25}, x, 20000);
  for (std::size_t i = 0; i < x.size(); ++i)  // and unscaled it sends a quarter of everything
    CHECK(std::abs(m.mean[i] - x[i] / 4.) < 5 * std::abs(static_cast<double>(x[i])) * std::sqrt(0.1875 / 20000) + 1e-9);
}

TEST_CASE("select::random_k sends the values as they are, or n/k times them") {
  auto const x = heavy_tailed(33);
  lone_rank r;
  for (double d : {0.01, 0.25, 1.0}) {
    auto const plain = run_select(random_k{.density = d}, x, r.ctx),
               scaled = run_select(random_k{.density = d, .scaled = true}, x, r.ctx);
    auto const k = kept_of(d, 33);
    REQUIRE(plain.indices == scaled.indices);
    for (std::size_t j = 0; j < k; ++j) {
      CHECK(plain.values[j] == x[plain.indices[j]]);
      CHECK(scaled.values[j] == x[plain.indices[j]] * (33.f / static_cast<float>(k)));
    }
  }
  CHECK_FALSE(run_select(random_k{.density = 0.25, .scaled = true}, floats(8, 2e38f), r.ctx).finite);
  CHECK(run_select(random_k{.density = 0.25}, floats(8, 2e38f), r.ctx).finite);
}

namespace {
/// The memory after 400 steps of gradient 1 on 10 entries, in double: e <- (e + 1) (1 - factor) where drawn.
double memory_in_double(random_k const& s) {
  auto const factor = s.scaled ? 1 / s.density : 1.;
  std::vector<double> e(10);
  lone_rank r;
  for (std::uint64_t step = 0; step < 400; ++step) {
    r.ctx.number = step;
    for (auto& v : e) v += 1;
    for (auto const i : run_select(s, floats(10), r.ctx).indices) e[i] *= 1 - factor;
  }
  double sum = 0;
  for (auto const v : e) sum += v * v;
  return std::sqrt(sum);
}
struct run_in_float {
  double memory = 0;  ///< norm, after the last good step
  int steps = 0;
};
run_in_float memory_in_float(random_k const& s) {
  run_in_float result;
  self_communicator alone;
  reducer r{host{}, alone, {.seed = 11}};
  auto const w = r.add("w", 10, 1, compress_with(s, error_feedback{}));
  try {
    for (; result.steps < 400; ++result.steps) {
      floats g(10, 1.f);
      r.average(w, std::span(g));
      r.visit(w, [&](char const*, auto const& b) { result.memory = std::sqrt(squared(copied(b))); });
    }
  } catch (non_finite_error const&) {
  }
  return result;
}
}  // namespace

TEST_CASE("select::random_k, scaled below n/2, blows a memory up; unscaled, or scaled above n/2, it does not") {
  CHECK(memory_in_double({.density = 0.2, .scaled = true}) > 1e40);
  CHECK(memory_in_double({.density = 0.2}) < 50);
  CHECK(memory_in_double({.density = 0.6, .scaled = true}) < 10);
  auto const exploded = memory_in_float({.density = 0.2, .scaled = true});
  CHECK(exploded.steps < 400);  // an error, before infinity reaches the memory
  CHECK(exploded.memory > 1e30);
  CHECK(exploded.memory < 1e39);
  auto const plain = memory_in_float({.density = 0.2}), damped = memory_in_float({.density = 0.6, .scaled = true});
  CHECK(plain.steps == 400);
  CHECK(plain.memory < 50);
  CHECK(damped.steps == 400);
  CHECK(damped.memory < 10);
  MESSAGE("memories in double: ", memory_in_double({.density = 0.2, .scaled = true}), ", ",
          memory_in_double({.density = 0.2}), ", ", memory_in_double({.density = 0.6, .scaled = true}),
          "; in float the first ends after ", exploded.steps, " steps at ", exploded.memory, "; ", plain.memory, ", ",
          damped.memory);
}

TEST_CASE("select::own_random_k: ranks send different entries, with indices in any code, and nothing is lost") {
  auto const g = gradients_of(4, 200);
  auto const raw = average_once(g, compress_with(own_random_k{.density = 0.1}, error_feedback{})),
             coded = average_once(g, compress_with(own_random_k{.density = 0.1}, error_feedback{}, elias_fano{}));
  CHECK(identical(raw.updates[0], coded.updates[0]));
  CHECK(coded.bytes[0] < raw.bytes[0]);
  CHECK(vanished(g, raw) < 1e-4);
  auto const reached = std::count_if(raw.updates[0].begin(), raw.updates[0].end(), [](float v) { return v != 0; });
  CHECK(reached > 40);  // 20 with a shared draw
  CHECK(reached <= 80);
}

TEST_CASE("select::random_k has a text form and refuses impossible densities") {
  CHECK(describe(random_k{.density = 0.25}) == "random_k(density=0.25,scaled=false)");
  CHECK(describe(own_random_k{.density = 0.25, .scaled = true}) == "own_random_k(density=0.25,scaled=true)");
  CHECK_THROWS_AS(random_k{.density = 1.01}.check(), configuration_error);
  CHECK_THROWS_WITH_AS(own_random_k{.density = 0}.check(), "own_random_k: density must lie in (0, 1], it is 0.000000",
                       configuration_error);
}
