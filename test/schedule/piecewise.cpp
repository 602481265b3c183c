// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/piecewise.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace gradpress;

TEST_CASE("schedule::piecewise: the value of the last piece that has begun") {
  piecewise const s{{{0, 0.25}, {10, 0.1}, {11, 0.05}, {1000, 0.01}}};
  CHECK(s(0) == 0.25);
  CHECK(s(9) == 0.25);
  CHECK(s(10) == 0.1);
  CHECK(s(11) == 0.05);
  CHECK(s(999) == 0.05);
  CHECK(s(1000) == 0.01);
  CHECK(s(std::numeric_limits<std::uint64_t>::max()) == 0.01);
  CHECK(piecewise{{{0, 3}}}(77) == 3);
  CHECK(constant{0.5}(0) == 0.5);
  CHECK(constant{0.5}(123456) == 0.5);
}

TEST_CASE("schedule::piecewise: pieces out of order are refused") {
  CHECK_THROWS_WITH_AS(piecewise({}), doctest::Contains("first piece must begin at step 0"), configuration_error);
  CHECK_THROWS_WITH_AS(piecewise({{1, 0.5}}), doctest::Contains("first piece must begin at step 0"),
                       configuration_error);
  CHECK_THROWS_WITH_AS(piecewise({{0, 1}, {5, 2}, {5, 3}}), doctest::Contains("piece 2 begins at 5"),
                       configuration_error);
}

TEST_CASE("schedule: any callable from the step number is one") {
  auto const linear = [](std::uint64_t step) { return 1.0 / static_cast<double>(step + 1); };
  static_assert(schedule<decltype(linear)>);
  static_assert(schedule<float (*)(std::uint64_t)>);
  struct wrong {
    double operator()(std::uint64_t);  // changes from call to call
  };
  static_assert(!schedule<wrong>);
  static_assert(!schedule<double>);
}
