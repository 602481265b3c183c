// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/svd.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/low_rank_matrices.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<svd>);
static_assert(!projector<svd*>);
static_assert(!svd::linear && svd::rounds == 1 && !keeps_coordinates<svd>);
static_assert(svd{.rank = 2}.coefficients({7, 5}, 0) == 24 && svd{.rank = 9}.coefficients({7, 5}, 0) == 60);
static_assert(svd{}.coefficients({0, 1}, 0) == 0 && svd{}.coefficients({1, 31}, 0) == 32);

TEST_CASE("project::svd obeys the laws of projectors") {
  for (int const rank : {1, 2, 4, 32}) check_projector(svd{.rank = rank});
  check_projector_hooks(svd{}, {89, 67});
}

TEST_CASE("project::svd leaves what the smaller singular values hold, and no more") {
  for (shape const d : {shape{16, 72}, shape{97, 33}, shape{31, 64}, shape{1, 50}, shape{50, 1}, shape{53, 53}})
    for (int const rank : {1, 2, 5, 32}) {
      CAPTURE(d.rows);
      CAPTURE(d.cols);
      CAPTURE(rank);
      auto const a = heavy_tailed(d.size(), 3);
      projecting<svd> at({.rank = rank}, d);
      auto const rest = tail(singular_values(a, d), static_cast<std::size_t>(rank));
      CHECK(distance(at.step(a), a) == doctest::Approx(rest).epsilon(1e-5).scale(std::sqrt(squared(a))));
    }
}

TEST_CASE("project::svd on large matrices: next to the best, and a contraction") {
  for (shape const d : {shape{89, 67}, shape{130, 300}})
    for (int const rank : {1, 4, 16}) {
      auto const r = static_cast<std::size_t>(rank);
      projecting<svd> at({.rank = rank}, d);
      auto const flat = heavy_tailed(d.size(), 5);  // the worst case: values that hardly fall
      auto const error = distance(at.step(flat), flat), best = tail(singular_values(flat, d), r);
      CHECK(error >= best * (1 - 1e-6));
      CHECK(error <= best * 1.01);
      CHECK(error * error <=
            squared(flat) * (1 - static_cast<double>(r) / static_cast<double>(std::min(d.rows, d.cols))));
      auto const steep = plus(of_rank(r, d, 6), times(1e-3f, flat));
      CHECK(distance(at.step(steep), steep) <= tail(singular_values(steep, d), r) * (1 + 1e-4));
    }
}

TEST_CASE("project::svd is exact up to its rank, of matrices of any size and scale") {
  for (shape const d : {shape{40, 25}, shape{25, 40}, shape{100, 90}, shape{70, 400}, shape{1, 9}, shape{9, 1}})
    for (std::size_t const r : {0u, 1u, 2u, 4u})
      for (float const scale : {1.f, 1e-25f, 1e25f}) {
        auto const m = times(scale, of_rank(r, d, 7));
        projecting<svd> at({.rank = 4}, d);
        CAPTURE(r);
        CHECK(distance(at.step(m), m) <= 1e-5 * std::sqrt(squared(m)));
      }
}

TEST_CASE("project::svd sends U S and V: columns of the length of singular values, and orthonormal ones") {
  for (shape const d : {shape{20, 33}, shape{33, 20}, shape{80, 90}}) {
    constexpr std::size_t r = 3;
    auto const a = plus(of_rank(2, d, 2), times(0.1f, of_rank(5, d, 8)));
    projecting<svd> at({.rank = r}, d);
    auto const c = at.project(0, a);
    auto const sigma = singular_values(a, d);
    auto const product = [&](std::size_t from, std::size_t n, std::size_t i, std::size_t j) {
      double x = 0;
      for (std::size_t k = 0; k < n; ++k)
        x += static_cast<double>(c[from + k * r + i]) * static_cast<double>(c[from + k * r + j]);
      return x;
    };
    for (std::size_t j = 0; j < r; ++j)
      for (std::size_t i = 0; i <= j; ++i) {
        CHECK(std::abs(product(d.rows * r, d.cols, i, j) - (i == j ? 1. : 0.)) < 1e-6);
        CHECK(std::abs(product(0, d.rows, i, j) - (i == j ? sigma[i] * sigma[i] : 0.)) < 1e-4 * sigma[0] * sigma[0]);
      }
  }
}

TEST_CASE("project::svd has no average in its coefficients: each rank's are lifted on their own") {
  constexpr int P = 3;
  shape const d{24, 18};
  floats mean(d.size()), factors, lifted(d.size());
  for (int rank = 0; rank < P; ++rank) {
    auto const a = of_rank(2, d, static_cast<std::uint64_t>(rank) + 40);
    projecting<svd> at({.rank = 2}, d, rank);
    auto const c = at.project(0, a);
    mean = plus(mean, times(1.f / P, a));
    lifted = plus(lifted, times(1.f / P, at.lift(c)));
    factors = rank == 0 ? times(1.f / P, c) : plus(factors, times(1.f / P, c));
  }
  auto const size = std::sqrt(squared(mean));
  CHECK(distance(lifted, mean) <= 1e-5 * size);
  CHECK(distance(projecting<svd>({.rank = 2}, d).lift(factors), mean) > 0.1 * size);
}

TEST_CASE("project::svd repeats itself, on each rank and in each step") {
  shape const d{70, 80};
  auto const a = heavy_tailed(d.size(), 3);
  projecting<svd> at({}, d), twin({}, d), other({}, d, 2);
  auto const c = at.project(0, a);
  CHECK(identical(c, at.project(0, a)));
  CHECK(identical(c, twin.project(0, a)));
  CHECK_FALSE(identical(c, other.project(0, a)));  // nearly: it starts from a key of its own
  CHECK(distance(at.step(a), a) == doctest::Approx(distance(other.step(a), a)).epsilon(0.01));
}

TEST_CASE("project::svd has a text form and refuses ranks outside 1..32") {
  CHECK(describe(svd{.rank = 4}) == "svd(rank=4)");
  CHECK_NOTHROW(svd{.rank = 32}.check());
  for (int const rank : {0, -1, 33}) CHECK_THROWS_AS(svd{.rank = rank}.check(), configuration_error);
}
