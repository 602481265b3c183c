// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/budgets.hpp>

#include <gradpress/core/philox.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();
using tables = std::vector<budget_table>;

/// 1 to 5 tables of 1 to 5 choices, in no order; whole errors and bytes, or ones that round.
tables random_tables(std::uint64_t seed, bool whole) {
  key const k = key{seed};
  std::uint64_t at = 0;
  auto const below = [&](std::uint64_t n) { return k.bits(at++) % n; };
  tables all(1 + below(5));
  for (std::size_t l = 0; l < all.size(); ++l) {
    all[l].name = "t" + std::to_string(l);
    all[l].choices.resize(1 + below(5));
    for (auto& c : all[l].choices)
      c = {0, static_cast<double>(below(40)), static_cast<double>(below(60)) / (whole ? 1 : 7.3)};
    all[l].by_default = below(all[l].choices.size());
    all[l].now = below(all[l].choices.size());
  }
  return all;
}
double error_of(tables const& all, std::vector<std::size_t> const& picks) {
  double sum = 0;
  for (std::size_t l = 0; l < all.size(); ++l) sum += all[l].choices[picks[l]].error;
  return sum;
}
double bytes_of(tables const& all, std::vector<std::size_t> const& picks) {
  double sum = 0;
  for (std::size_t l = 0; l < all.size(); ++l) sum += all[l].choices[picks[l]].bytes;
  return sum;
}
std::vector<std::size_t> defaults_of(tables const& all) {
  std::vector<std::size_t> picks;
  for (auto const& t : all) picks.push_back(t.by_default);
  return picks;
}
/// The fewest bytes of all picks within the budget; infinite if there are none.
double by_trying(tables const& all, double budget) {
  std::vector<std::size_t> picks(all.size(), 0);
  auto best = infinite;
  for (;;) {
    if (error_of(all, picks) <= budget) best = std::min(best, bytes_of(all, picks));
    std::size_t l = 0;
    while (l < all.size() && ++picks[l] == all[l].choices.size()) picks[l++] = 0;
    if (l == all.size()) return best;
  }
}
constexpr double alphas[] = {0, 0.3, 0.5, 0.9, 1, 1.3, 2, 10};
}  // namespace

TEST_CASE("schedule::budgets: equal the best of all picks where errors are whole numbers") {
  int feasible = 0, smaller = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    auto const all = random_tables(seed, true);
    for (auto const alpha : alphas) {
      auto const plan = choose_budgets(all, alpha, 3000);  // the largest budget
      auto const best = by_trying(all, plan.budget);
      CHECK(plan.budget == alpha * error_of(all, defaults_of(all)));
      REQUIRE(plan.feasible == std::isfinite(best));
      if (!plan.feasible) continue;
      ++feasible;
      CHECK(plan.bytes == best);
      CHECK(plan.bytes == bytes_of(all, plan.picks));
      CHECK(plan.error == error_of(all, plan.picks));
      CHECK(plan.error <= plan.budget);
      smaller += alpha == 1 && plan.bytes < bytes_of(all, defaults_of(all));
    }
  }
  CHECK(feasible > 5000);
  CHECK(smaller > 300);
}

TEST_CASE(
    "schedule::budgets: with few buckets, within the true budget, and as good as with a budget of L buckets less") {
  int optimal = 0, all_of_them = 0;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    auto const all = random_tables(seed, false);
    for (std::size_t const buckets : {1u, 3u, 40u, 10000u})
      for (auto const alpha : alphas) {
        auto const plan = choose_budgets(all, alpha, buckets);
        auto const share = 1 - static_cast<double>(all.size()) / static_cast<double>(buckets);
        CHECK(plan.feasible == std::isfinite(by_trying(all, plan.budget)));
        if (!plan.feasible) continue;
        CHECK(error_of(all, plan.picks) <= plan.budget);
        CHECK(plan.bytes >= by_trying(all, plan.budget));
        CHECK(plan.bytes <= by_trying(all, plan.budget * share));
        if (buckets == 10000) ++all_of_them, optimal += plan.bytes == by_trying(all, plan.budget);
      }
  }
  CHECK(optimal > all_of_them * 999 / 1000);
}

TEST_CASE("schedule::budgets: more error allowed, no more bytes") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    auto const all = random_tables(seed, true);
    auto before = infinite;
    for (double alpha = 0; alpha < 3; alpha += 0.05) {
      auto const plan = choose_budgets(all, alpha, 1000);
      if (plan.feasible) CHECK(plan.bytes <= before);
      CHECK((plan.feasible || std::isinf(before)));
      if (plan.feasible) before = plan.bytes;
    }
  }
}

TEST_CASE("schedule::budgets: the defaults always fit at alpha = 1, however errors round") {
  for (std::uint64_t seed = 0; seed < 500; ++seed)
    for (std::size_t const buckets : {1u, 7u, 100u}) {
      tables all(200);
      key const k = key{seed};
      for (std::size_t l = 0; l < all.size(); ++l) all[l].by_default = k.bits(1000 + l) % 2;
      for (std::size_t l = 0; l < all.size(); ++l)
        for (std::size_t c = 0; c < 2; ++c)
          all[l].choices.push_back({0, 1 + static_cast<double>(c), static_cast<double>(k.uniform(2 * l + c)) / 3});
      auto const plan = choose_budgets(all, 1, buckets);
      CHECK(plan.feasible);
      CHECK(plan.bytes <= bytes_of(all, defaults_of(all)));
      CHECK(error_of(all, plan.picks) <= error_of(all, defaults_of(all)));
    }
}

TEST_CASE("schedule::budgets: one bucket for all still finds what fits, and nothing dearer than the defaults") {
  // The cheapest way to begin leaves too little for any end.
  tables const dead_end = {{"a", {{1, 100, 0.5}, {2, 1, 0.9}, {3, 2, 0.75}}, 0, 0},
                           {"b", {{1, 11, 0.125}, {2, 10, 0.25}}, 0, 0}};
  CHECK(choose_budgets(dead_end, 1.6, 1).picks == std::vector<std::size_t>{2, 1});
  // The cheapest way to begin leaves a dear end only.
  tables const detour = {{"a", {{1, 10, 0.5}, {2, 9, 0.75}}, 0, 0}, {"b", {{1, 1, 0.5}, {2, 100, 0.125}}, 0, 0}};
  CHECK(choose_budgets(detour, 1, 1).picks == std::vector<std::size_t>{0, 0});
}

TEST_CASE("schedule::budgets: what does not fit changes nothing and says so") {
  tables all = {{"a", {{1, 8, 4}, {2, 16, 2}, {3, 24, 1}}, 0, 1}, {"b", {{1, 8, 4}, {2, 16, 3}}, 0, 1}};
  auto const plan = choose_budgets(all, 0.49);  // 3.92, where 4 is the least
  CHECK(!plan.feasible);
  CHECK(plan.picks == std::vector<std::size_t>{1, 1});
  CHECK(plan.bytes == 32);
  CHECK(choose_budgets(all, 0.5).picks == std::vector<std::size_t>{2, 1});
  CHECK(!choose_budgets(all, 0).feasible);
  all[0].choices[2].error = all[1].choices[1].error = 0;
  CHECK(choose_budgets(all, 0).picks == std::vector<std::size_t>{2, 1});
  CHECK(choose_budgets({}, 1).feasible);
  CHECK(choose_budgets({}, 1).picks.empty());
}

TEST_CASE("schedule::budgets: an error that is unknown never wins") {
  for (auto const bad : {not_a_number, infinite}) {
    tables all = {{"a", {{1, 1, bad}, {2, 16, 2}, {3, 2, bad}, {4, 12, 4}}, 1, 0},
                  {"b", {{1, 8, 4}, {2, 16, 3}}, 0, 1}};
    CHECK(choose_budgets(all, 1).picks == std::vector<std::size_t>{1, 0});
    CHECK(choose_budgets(all, 100).picks == std::vector<std::size_t>{3, 0});
    all[0].by_default = 0;  // no budget
    auto const plan = choose_budgets(all, 1);
    CHECK(!plan.feasible);
    CHECK(plan.picks == std::vector<std::size_t>{0, 1});
    all[0] = {"a", {{1, 1, bad}}, 0, 0};
    CHECK(!choose_budgets(all, 1).feasible);
  }
  CHECK(choose_budgets(tables{{"a", {{1, 1, 1e308}, {2, 2, 1e308}}, 0, 0}, {"b", {{1, 1, 1e308}}, 0, 0}}).feasible ==
        false);  // the budget overflows
  CHECK(choose_budgets(tables{{"a", {{1, 1, 5e-324}, {2, 2, 0}}, 1, 0}}).picks == std::vector<std::size_t>{1});
  CHECK(choose_budgets(tables{{"a", {{1, 1, 5e-324}, {2, 2, 0}}, 0, 0}}).picks == std::vector<std::size_t>{0});
}

TEST_CASE("schedule::budgets: tables that cannot be are refused by name") {
  tables const good = {{"w", {{1, 1, 1}}, 0, 0}};
  auto const refused = [](tables const& all, double alpha, std::size_t buckets, char const* says) {
    CHECK_THROWS_WITH_AS(choose_budgets(all, alpha, buckets), doctest::Contains(says), configuration_error);
  };
  refused(good, -0.5, 100, "alpha must be finite and at least 0, it is -0.5");
  refused(good, not_a_number, 100, "alpha");
  refused(good, infinite, 100, "alpha");
  refused(good, 1, 0, "buckets");
  refused(good, 1, std::size_t{1} << 24, "buckets");
  refused({{"w", {}, 0, 0}}, 1, 100, "tensor 'w': has 0 choices; give it 1 to 256, or leave it out");
  refused({{"w", std::vector<budget_choice>(257), 0, 0}}, 1, 100, "tensor 'w': has 257 choices");
  refused({{"w", {{1, 1, 1}}, 1, 0}}, 1, 100, "tensor 'w'");
  refused({{"w", {{1, 1, 1}}, 0, 1}}, 1, 100, "tensor 'w'");
  refused({{"v", {{1, 1, 1}}, 0, 0}, {"w", {{1, 1, -1}}, 0, 0}}, 1, 100, "tensor 'w'");
  refused({{"w", {{1, not_a_number, 1}}, 0, 0}}, 1, 100, "tensor 'w'");
  CHECK(choose_budgets(tables{{"w", std::vector<budget_choice>(256), 255, 255}}).feasible);
}
