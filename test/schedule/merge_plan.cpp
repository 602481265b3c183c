// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/merge_plan.hpp>

#include <gradpress/core/philox.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
using timings = std::vector<tensor_timing>;
using sizes = std::vector<std::size_t>;

/// Layers whose times to compute, bytes and encode times are small whole numbers: all sums are exact.
timings random_tensors(std::uint64_t seed, std::size_t L, bool encodes) {
  timings all(L);
  key const k = key{seed};
  double now = 0;
  for (std::size_t l = 0; l < L; ++l) {
    now += static_cast<double>(k.bits(3 * l) % 10);
    all[l] = {now, static_cast<double>(1 + k.bits(3 * l + 1) % 10),
              encodes ? static_cast<double>(k.bits(3 * l + 2) % 4) : 0};
  }
  return all;
}
/// The best of all 2^(L-1) groupings.
double by_trying(timings const& t, link_cost const& on) {
  auto best = std::numeric_limits<double>::infinity();
  for (unsigned cut = 0; cut < 1u << (t.size() - 1); ++cut) {
    sizes ends;
    for (std::size_t l = 0; l + 1 < t.size(); ++l)
      if ((cut >> l & 1u) != 0) ends.push_back(l + 1);
    ends.push_back(t.size());
    best = std::min(best, finish_of(t, on, ends));
  }
  return best;
}
}  // namespace

TEST_CASE("schedule::merge_plan: the published rule ends at 17 where 14 is possible") {
  timings const t = {{1, 3, 0}, {4, 1, 0}, {8, 1, 0}};  // 1, 3 and 4 seconds of backward pass
  auto const greedy = plan_merges_greedy(t, {4, 1}), best = plan_merges(t, {4, 1});
  CHECK(greedy.finish == 17);
  CHECK(greedy.ends == sizes{2, 3});
  CHECK(best.finish == 14);
  CHECK(best.ends == sizes{1, 3});
}

TEST_CASE("schedule::merge_plan: equals the best of all groupings; the published rule is never better") {
  int worse = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    auto const t = random_tensors(seed, 1 + seed % 9, seed % 2 == 1);
    link_cost const on{static_cast<double>(seed % 13), 1};
    auto const plan = plan_merges(t, on), greedy = plan_merges_greedy(t, on);
    CHECK(plan.finish == by_trying(t, on));
    CHECK(plan.finish == finish_of(t, on, plan.ends));
    CHECK(greedy.finish == finish_of(t, on, greedy.ends));
    CHECK(greedy.finish >= plan.finish);
    worse += greedy.finish > plan.finish;
  }
  CHECK(worse > 50);
}

TEST_CASE("schedule::merge_plan: no latency, no merging; huge latency, one group") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    auto t = random_tensors(seed, 12, true);
    for (auto& x : t) x.bytes /= 3;  // sums that round
    CHECK(plan_merges(t, {0, 0.1}).groups() == 12);
    CHECK(plan_merges(t, {1e6, 0.1}).ends == sizes{12});
    CHECK(plan_merges_greedy(t, {1e6, 0.1}).ends == sizes{12});
  }
  CHECK(plan_merges(timings{}, {1, 1}).groups() == 0);
  CHECK(plan_merges(timings{}, {1, 1}).finish == 0);
  CHECK(plan_merges_greedy(timings{}, {1, 1}).groups() == 0);
}

TEST_CASE("schedule::merge_plan: compressed messages leave room, and slow encoders take it") {
  timings t = {{10, 1000, 0}, {20, 1000, 0}, {30, 1000, 0}};
  link_cost const on{5, 0.02};                          // 25 seconds a message: each waits for the one before it
  CHECK(plan_merges(t, on).finish == 10 + 5 + 60 + 5);  // the first alone, two together
  CHECK(plan_merges(t, on).ends == sizes{1, 3});
  for (auto& x : t) x.bytes = 10;
  CHECK(plan_merges(t, on).groups() == 3);  // each arrives before the next is ready
  CHECK(plan_merges(t, on).finish == doctest::Approx(30 + 5.2));
  for (auto& x : t) x.encode = 4;
  CHECK(plan_merges(t, on).finish == doctest::Approx(30 + 12 + 5.2));
  t[0].encode = 40;  // the backward pass waits: the others are late too
  CHECK(plan_merges(t, on).finish == doctest::Approx(30 + 48 + 5.2));
}

TEST_CASE("schedule::merge_plan: times that cannot be are refused") {
  auto const refused = [](timings const& t, link_cost on) {
    CHECK_THROWS_AS(plan_merges(t, on), configuration_error);
    CHECK_THROWS_AS(plan_merges_greedy(t, on), configuration_error);
  };
  refused({{5, 1, 0}, {4, 1, 0}}, {1, 1});
  refused({{5, -1, 0}}, {1, 1});
  refused({{5, 1, std::numeric_limits<double>::quiet_NaN()}}, {1, 1});
  refused({{5, 1, 0}}, {-1, 1});
  CHECK_THROWS_WITH_AS(plan_merges(timings{{5, 1, 0}, {4, 1, 0}}, {1, 1}), doctest::Contains("tensor 1"),
                       configuration_error);
}
