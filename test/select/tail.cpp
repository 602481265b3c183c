// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/tail.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace gradpress;

namespace {
constexpr double shares[] = {1, 0.5, 0.25, 0.01, 1e-6};
}

TEST_CASE("select::tail: an exponential tail has the quantiles of its mean") {
  for (double const mean : {1.0, 1e-20, 3e5})
    for (double const share : shares) {
      auto const expected = -mean * std::log(share);
      CHECK(tail_quantile(tail_fit::exponential, mean, 2 * mean * mean, share) == doctest::Approx(expected));
      CHECK(tail_quantile(tail_fit::pareto, mean, 2 * mean * mean, share) == doctest::Approx(expected));
    }
}

TEST_CASE("select::tail: a generalised Pareto tail has the quantiles of its shape and scale, heavy or with an end") {
  for (double const shape : {-2.0, -1.0, -0.5, -1e-9, 1e-9, 0.1, 0.3, 0.45})
    for (double const scale : {1.0, 1e-12, 4e7}) {
      auto const mean = scale / (1 - shape), variance = scale * scale / ((1 - shape) * (1 - shape) * (1 - 2 * shape));
      for (double const share : shares) {
        CAPTURE(shape);
        CAPTURE(share);
        auto const expected = scale * (std::pow(share, -shape) - 1) / shape;
        CHECK(tail_quantile(tail_fit::pareto, mean, variance + mean * mean, share) ==
              doctest::Approx(expected).epsilon(std::fabs(shape) < 1e-6 ? 1e-5 : 1e-9));
      }
    }
  // By hand: of numbers even over [0, 2] the upper quarter starts at 1.5.
  CHECK(tail_quantile(tail_fit::pareto, 1, 4. / 3, 0.25) == doctest::Approx(1.5));
}

TEST_CASE("select::tail: data of no variance, or of rounded ones, has finite quantiles") {
  CHECK(tail_quantile(tail_fit::pareto, 2, 4, 0.25) == 2);
  CHECK(tail_quantile(tail_fit::pareto, 2, 4 - 1e-15, 0.25) == 2);
  CHECK(tail_quantile(tail_fit::pareto, 0, 0, 0.25) == 0);
  CHECK(tail_quantile(tail_fit::pareto, 2, 4 + 1e-14, 0.25) == doctest::Approx(2));
  CHECK(std::isfinite(tail_quantile(tail_fit::pareto, 1, 1e300, 1e-9)));
}
