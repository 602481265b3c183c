// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/warm_up.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace gradpress;

TEST_CASE("schedule::warm_up: the published list by epoch, then the final density") {
  warm_up const s{.density = 0.001, .steps_per_epoch = 100};
  double const by_epoch[] = {0.25, 0.063, 0.015, 0.004, 0.001, 0.001};
  for (std::uint64_t e = 0; e < 6; ++e) {
    CHECK(s(100 * e) == by_epoch[e]);
    CHECK(s(100 * e + 99) == by_epoch[e]);
  }
  CHECK(s(std::numeric_limits<std::uint64_t>::max()) == 0.001);
}

TEST_CASE("schedule::warm_up: never less than the final density") {
  warm_up const s{.density = 0.05, .steps_per_epoch = 1};
  CHECK(s(1) == 0.063);
  CHECK(s(2) == 0.05);
  CHECK(s(3) == 0.05);
}

TEST_CASE("schedule::geometric_warm_up: equal factors from epoch to epoch, down to the final density") {
  geometric_warm_up const s{.density = 1e-5, .steps_per_epoch = 7, .epochs = 4};
  for (std::uint64_t e = 0; e < 4; ++e) {
    auto const expected = std::pow(10.0, -static_cast<double>(e + 1));
    CHECK(std::abs(s(7 * e + 6) - expected) < 1e-12);
  }
  CHECK(s(28) == 1e-5);
  CHECK(geometric_warm_up{.density = 0.1, .epochs = 0}(0) == 0.1);
}

TEST_CASE("schedule::rank_warm_up: halves in equal stages, from the first rank to the final one") {
  rank_warm_up const s{.from = 16, .to = 2, .steps = 30};
  for (std::uint64_t step = 0; step < 40; ++step)
    CHECK(s(step) == (step < 10 ? 16 : step < 20 ? 8 : step < 30 ? 4 : 2));
  CHECK(s(std::numeric_limits<std::uint64_t>::max()) == 2);
  rank_warm_up const odd{.from = 11, .to = 3, .steps = 5};  // two stages: of three steps, and what is left
  double const expected[] = {11, 11, 11, 5, 5, 3, 3};
  for (std::uint64_t step = 0; step < 7; ++step) CHECK(odd(step) == expected[step]);
  CHECK(rank_warm_up{.from = 16, .to = 2, .steps = 0}(0) == 2);
  CHECK(rank_warm_up{.from = 4, .to = 4, .steps = 9}(0) == 4);
  rank_warm_up const brief{.from = 32, .to = 1, .steps = 2};
  CHECK(brief(0) == 32);
  CHECK(brief(1) == 16);
  CHECK(brief(2) == 1);
  rank_warm_up const longest{.from = 32, .to = 1, .steps = std::numeric_limits<std::uint64_t>::max()};
  CHECK(longest(0) == 32);
  CHECK(longest(std::numeric_limits<std::uint64_t>::max() - 1) == 2);
}

TEST_CASE("schedule: warm-ups refuse what no density can be") {
  CHECK_THROWS_WITH_AS((warm_up{.density = 0}.check()), doctest::Contains("(0, 1]"), configuration_error);
  CHECK_THROWS_WITH_AS((warm_up{.stages = {2, 1, 1, 1}}.check()), doctest::Contains("stage"), configuration_error);
  CHECK_THROWS_WITH_AS((warm_up{.steps_per_epoch = 0}.check()), doctest::Contains("at least 1"), configuration_error);
  CHECK_THROWS_WITH_AS((geometric_warm_up{.density = 1.5}.check()), doctest::Contains("1.5"), configuration_error);
  CHECK_THROWS_WITH_AS((rank_warm_up{.from = 2, .to = 4}.check()), doctest::Contains("2 and then 4"),
                       configuration_error);
  CHECK_THROWS_WITH_AS((rank_warm_up{.from = 2, .to = 0}.check()), doctest::Contains("1..32"), configuration_error);
  CHECK_THROWS_WITH_AS((rank_warm_up{.from = 33, .to = 1}.check()), doctest::Contains("1..32"), configuration_error);
  rank_warm_up{}.check();
  warm_up{}.check();
  geometric_warm_up{}.check();
}
