// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/density.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace gradpress;

static_assert(kept_of(0.5, 0) == 0);
static_assert(kept_of(1e-9, 1) == 1);
static_assert(kept_of(0.01, 99) == 1 && kept_of(0.01, 100) == 1 && kept_of(0.01, 199) == 1 && kept_of(0.01, 200) == 2);
static_assert(kept_of(1, 7) == 7);

TEST_CASE("select::density keeps at least one entry of any, and never more than there are") {
  for (std::size_t n : {1u, 2u, 31u, 1000u, 100003u})
    for (double d : {1e-12, 0.001, 0.1, 1. / 3, 0.999, 1.0}) {
      auto const k = kept_of(d, n);
      CAPTURE(n);
      CAPTURE(d);
      CHECK(k >= 1);
      CHECK(k <= n);
      CHECK(static_cast<double>(k) <= std::max(1., d * static_cast<double>(n)));
      CHECK(static_cast<double>(k) > d * static_cast<double>(n) - 1);
    }
}

TEST_CASE("select::density refuses what lies outside (0, 1], naming the policy and the number") {
  CHECK_NOTHROW(check_density("p", 1));
  CHECK_NOTHROW(check_density("p", 1e-12));
  CHECK_THROWS_WITH_AS(check_density("top_k", 1.5), "top_k: density must lie in (0, 1], it is 1.500000",
                       configuration_error);
  CHECK_THROWS_AS(check_density("p", 0), configuration_error);
  CHECK_THROWS_AS(check_density("p", -0.1), configuration_error);
  CHECK_THROWS_AS(check_density("p", std::numeric_limits<double>::quiet_NaN()), configuration_error);
}
