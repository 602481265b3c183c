// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/norm.hpp>

#include "../support/lone_rank.hpp"

using namespace gradpress;

TEST_CASE("kernel::norm: sums of squares in double, over any number of chunks") {
  for (std::size_t const n : {0u, 1u, 1000u, 65536u, 65537u, 200000u}) {
    auto const x = test::heavy_tailed(n), y = test::heavy_tailed(n, 2);
    std::vector<double> partial(kernel::dense_chunks(n) + 1);
    test::floats apart(n);
    for (std::size_t i = 0; i < n; ++i) apart[i] = x[i] - 2 * y[i];
    test::host const exec;
    CHECK(kernel::norm(exec, x.data(), n, partial.data()) == doctest::Approx(std::sqrt(test::squared(x))));
    CHECK(kernel::distance(exec, x.data(), 2, y.data(), n, partial.data()) ==
          doctest::Approx(std::sqrt(test::squared(apart))).epsilon(1e-6));
    CHECK(kernel::distance(exec, x.data(), 1, x.data(), n, partial.data()) == 0);
  }
}

TEST_CASE("kernel::norm: what float would lose or overflow") {
  std::vector<double> partial(2);
  test::host const exec;
  test::floats x(70000, 1e-4f);
  x[0] = 1e4f;
  CHECK(kernel::norm(exec, x.data(), x.size(), partial.data()) > 1e4);
  test::floats const large(4, 1e30f);
  CHECK(kernel::norm(exec, large.data(), 4, partial.data()) == doctest::Approx(2e30));
}

TEST_CASE("kernel::norm: counts what is not zero, zeros of either sign left out") {
  test::floats x(100000, 0.f);
  x[1] = -0.f, x[2] = 1e-40f, x[65535] = -3, x[65536] = 2, x[99999] = 1;
  std::vector<double> partial(2);
  CHECK(kernel::count_nonzero(test::host{}, x.data(), x.size(), partial.data()) == 4);
  CHECK(kernel::count_nonzero(test::host{}, x.data(), 0, partial.data()) == 0);
}
