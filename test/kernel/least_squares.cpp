// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/least_squares.hpp>

#include <gradpress/core/philox.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <vector>

using namespace gradpress;

namespace {
using vectors = std::vector<std::vector<double>>;

kernel::inner_products products_of(vectors const& x) {
  kernel::inner_products all{};
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j <= i; ++j)
      for (std::size_t e = 0; e < x[i].size(); ++e)
        all[kernel::pair_at(static_cast<int>(i), static_cast<int>(j))] += x[i][e] * x[j][e];
  return all;
}
vectors random_vectors(std::size_t count, std::size_t n, std::uint64_t seed) {
  vectors x(count, std::vector<double>(n));
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t e = 0; e < n; ++e)
      x[i][e] = static_cast<double>(key{seed}.with(i).uniform(static_cast<std::uint32_t>(e))) - 0.5;
  return x;
}
auto solve(vectors const& x) { return kernel::least_squares(products_of(x), static_cast<int>(x.size()) - 1); }
/// |x[0] - sum of c x| over |x[0]|.
double left(vectors const& x) {
  auto const c = solve(x);
  double rest = 0, whole = 0;
  for (std::size_t e = 0; e < x[0].size(); ++e) {
    auto v = x[0][e];
    for (std::size_t j = 1; j < x.size(); ++j) v -= static_cast<double>(c[j - 1]) * x[j][e];
    rest += v * v, whole += x[0][e] * x[0][e];
  }
  return std::sqrt(rest / whole);
}
}  // namespace

TEST_CASE(
    "kernel/least_squares: finds the factors that made a vector, for every number of them and lengths far apart") {
  for (std::size_t m = 1; m <= 8; ++m) {
    auto x = random_vectors(m + 1, 40, m);
    for (std::size_t e = 0; e < 40; ++e) {
      x[0][e] = 0;
      for (std::size_t j = 1; j <= m; ++j) {
        auto const length = std::pow(10., static_cast<double>(j) - 4);
        x[j][e] *= length;
        x[0][e] += (static_cast<double>(j) - 2.5) / length * x[j][e];
      }
    }
    auto const c = solve(x);
    for (std::size_t j = 1; j <= m; ++j)
      CHECK(static_cast<double>(c[j - 1]) * std::pow(10., static_cast<double>(j) - 4) ==
            doctest::Approx(static_cast<double>(j) - 2.5).epsilon(1e-6));
    for (std::size_t j = m; j < 8; ++j) CHECK(c[j] == 0);
  }
}

TEST_CASE("kernel/least_squares: what is left is orthogonal to all, so no other factors leave less") {
  auto const x = random_vectors(5, 30, 9);
  auto const c = solve(x);
  for (std::size_t k = 1; k <= 4; ++k) {
    double dot = 0;
    for (std::size_t e = 0; e < 30; ++e) {
      auto v = x[0][e];
      for (std::size_t j = 1; j <= 4; ++j) v -= static_cast<double>(c[j - 1]) * x[j][e];
      dot += v * x[k][e];
    }
    CHECK(std::abs(dot) < 1e-6);
  }
}

TEST_CASE(
    "kernel/least_squares: vectors that depend on one another, zeros and copies leave finite factors that serve") {
  for (std::size_t m = 2; m <= 8; ++m) {
    auto x = random_vectors(m + 1, 40, 20 + m);
    for (std::size_t j = 2; j <= m; ++j)  // all along one line, and every third one zero
      for (std::size_t e = 0; e < 40; ++e) x[j][e] = j % 3 == 0 ? 0 : x[1][e] * (1 + 1e-9 * static_cast<double>(j));
    for (std::size_t e = 0; e < 40; ++e) x[0][e] = 3 * x[1][e];
    auto const c = solve(x);
    for (auto const v : c) CHECK((std::isfinite(v) && std::abs(v) < 4));
    CHECK(left(x) < 1e-6);
  }
  auto almost = random_vectors(3, 40, 5);  // a second one that adds too little to be worth a large factor
  for (std::size_t e = 0; e < 40; ++e) almost[2][e] = almost[1][e] + 1e-6 * almost[2][e];
  for (auto const v : solve(almost)) CHECK(std::abs(v) < 10);
  auto const zeros = vectors(4, std::vector<double>(10));
  for (auto const v : solve(zeros)) CHECK(v == 0);
  CHECK(kernel::least_squares({}, 0)[0] == 0);
}

TEST_CASE("kernel/least_squares: of equal vectors the first, and no factor that a float cannot hold") {
  auto x = random_vectors(3, 20, 7);
  x[2] = x[1];
  auto const c = solve(x);
  CHECK(c[1] == 0);
  CHECK(c[0] != 0);
  for (auto& v : x[0]) v *= 1e30;
  for (std::size_t j = 1; j <= 2; ++j)
    for (auto& v : x[j]) v *= 1e-20;
  for (auto const v : solve(x)) CHECK(v == 0);
}
