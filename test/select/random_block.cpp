// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/random_block.hpp>

#include "../concepts/selector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<random_block>);
static_assert(!selector<random_block*>);
static_assert(random_block::where == support::shared && random_block::fixed_size);

namespace {
/// The first entry of the run, which wraps around.
std::size_t start_of(std::vector<index_t> const& kept, std::size_t n) {
  for (std::size_t i = 1; i < kept.size(); ++i)
    if (kept[i] != kept[i - 1] + 1) return kept[i];
  bool const from_zero_only = kept.front() == 0 && kept.back() != n - 1;
  return from_zero_only ? 0 : kept.front();
}
}  // namespace

TEST_CASE("select::random_block obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(random_block{.density = d});
}

TEST_CASE(
    "select::random_block keeps one run that starts anywhere and wraps around, so each entry has the same chance") {
  constexpr std::size_t n = 40, k = 10;
  constexpr int draws = 40000;
  std::vector<int> starts(n), hits(n);
  lone_rank r;
  int wrapped = 0;
  for (int s = 0; s < draws; ++s) {
    r.ctx.number = static_cast<std::uint64_t>(s);
    auto const kept = run_select(random_block{.density = 0.25}, floats(n), r.ctx).indices;
    REQUIRE(kept.size() == k);
    auto const start = start_of(kept, n);
    ++starts[start];
    wrapped += start + k > n ? 1 : 0;
    std::vector<bool> in_run(n);
    for (std::size_t i = 0; i < k; ++i) in_run[(start + i) % n] = true;
    for (auto const i : kept) REQUIRE(in_run[i]);
    for (auto const i : kept) ++hits[i];
  }
  // All n starts are equally likely; then inclusion is k/n exactly, at both ends as in the middle.
  double chi = 0;
  constexpr double expected = static_cast<double>(draws) / n;
  for (auto const c : starts) {
    CHECK(std::abs(c - expected) < 5 * std::sqrt(expected));
    chi += (c - expected) * (c - expected) / expected;
  }
  CHECK(chi < n + 5 * std::sqrt(2. * n));
  CHECK(chi > n - 5 * std::sqrt(2. * n));
  for (auto const h : hits) CHECK(std::abs(h - draws * 0.25) < 5 * std::sqrt(draws * 0.25 * 0.75));
  CHECK(wrapped > 0);
}

TEST_CASE("select::random_block moves from step to step and from tensor to tensor") {
  lone_rank r;
  floats const x(100003);
  random_block const s{};
  auto const kept = run_select(s, x, r.ctx).indices;
  CHECK(kept.size() == 100003 / 64);
  r.ctx.number = 1;
  CHECK(run_select(s, x, r.ctx).indices != kept);
  r.ctx.number = 0, r.ctx.tensor ^= 1;
  CHECK(run_select(s, x, r.ctx).indices != kept);
}

TEST_CASE("select::random_block has a text form and refuses impossible densities") {
  CHECK(describe(random_block{}) == "random_block(density=0.015625)");
  CHECK_THROWS_AS(random_block{.density = 0}.check(), configuration_error);
}
