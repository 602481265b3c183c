// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/last_threshold.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace gradpress;

TEST_CASE("the smallest magnitude is exact, and 0 of none") {
  CHECK(kernel::smallest_magnitude({}) == 0);
  CHECK(kernel::smallest_magnitude(std::vector<float>{-3.f}) == 3.f);
  CHECK(kernel::smallest_magnitude(std::vector<float>{2.f, -0.5f, 7.f}) == 0.5f);
  CHECK(kernel::smallest_magnitude(std::vector<float>{1.f, -0.f}) == 0);
  CHECK(kernel::smallest_magnitude(std::vector<float>{std::numeric_limits<float>::quiet_NaN(), 4.f}) == 4.f);
}

TEST_CASE("a threshold that too few reach is lowered, by half at most") {
  CHECK(kernel::lowered_threshold(2.f, 0, 8) == 1.f);
  CHECK(kernel::lowered_threshold(2.f, 4, 8) == 1.5f);
  CHECK(kernel::lowered_threshold(2.f, 8, 8) == 2.f);
}

TEST_CASE("all but zeros reach the lowest threshold") {
  CHECK(kernel::lowest_threshold > 0);
  CHECK(kernel::magnitude(kernel::lowest_threshold) == 1);
}
