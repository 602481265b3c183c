// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/orthonormalise.hpp>

#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

struct basis {
  std::vector<float> p;
  int rank;
};

basis run(std::vector<float> p, std::size_t rows, std::size_t r) {
  Kokkos::DefaultHostExecutionSpace const exec;
  auto const size = kernel::orthonormalise_workspace(rows, r);
  std::vector<std::byte> room(size + 2, std::byte{0xff});
  p.push_back(77.f);
  auto const rank = kernel::orthonormalise(exec, p.data(), rows, r, room.data() + 1);
  CHECK(p.back() == 77.f);
  CHECK(room.front() == std::byte{0xff});
  CHECK(room.back() == std::byte{0xff});
  p.pop_back();
  return {p, rank};
}

double product(std::vector<float> const& p, std::size_t r, std::size_t i, std::size_t j) {
  double x = 0;
  for (std::size_t row = 0; row < p.size() / r; ++row)
    x += static_cast<double>(p[row * r + i]) * static_cast<double>(p[row * r + j]);
  return x;
}

/// Columns are orthonormal or exactly zero, and as many are not zero as the rank says.
void check_orthonormal(basis const& b, std::size_t r) {
  int alive = 0;
  for (std::size_t j = 0; j < r; ++j) {
    auto const norm = product(b.p, r, j, j);
    alive += norm != 0;
    if (norm != 0) CHECK(std::fabs(norm - 1) < 3e-7);
    for (std::size_t i = 0; i < j; ++i) CHECK(std::fabs(product(b.p, r, i, j)) < 3e-7);
  }
  CHECK(alive == b.rank);
}

/// Gram-Schmidt in double: what the columns are, up to rounding, while they are far from dependent.
std::vector<double> oracle(std::vector<float> const& p, std::size_t rows, std::size_t r) {
  std::vector<double> q(p.begin(), p.end());
  for (std::size_t j = 0; j < r; ++j) {
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t i = 0; i < j; ++i) {
        double x = 0;
        for (std::size_t row = 0; row < rows; ++row) x += q[row * r + i] * q[row * r + j];
        for (std::size_t row = 0; row < rows; ++row) q[row * r + j] -= x * q[row * r + i];
      }
    double norm = 0;
    for (std::size_t row = 0; row < rows; ++row) norm += q[row * r + j] * q[row * r + j];
    for (std::size_t row = 0; row < rows; ++row) q[row * r + j] /= std::sqrt(norm);
  }
  return q;
}

std::vector<float> normal(std::size_t n, unsigned seed = 1) {
  sample const x(data::normal, n, seed);
  return {x.get(), x.get() + n};
}

}  // namespace

TEST_CASE("gives the basis of Gram and Schmidt, whatever the scale") {
  for (std::size_t rows : {33u, 1000u, 1025u, 4097u, 70001u})
    for (std::size_t r : {1u, 2u, 3u, 4u, 8u, 17u, 32u}) {
      if (rows * r > 300000) continue;
      CAPTURE(rows);
      CAPTURE(r);
      auto const p = normal(rows * r);
      auto const want = oracle(p, rows, r);
      for (float scale : {1.f, 1e-30f, 1e30f}) {
        CAPTURE(scale);
        auto scaled = p;
        for (auto& x : scaled) x *= scale;
        auto const got = run(scaled, rows, r);
        CHECK(got.rank == static_cast<int>(r));
        check_orthonormal(got, r);
        double worst = 0;
        for (std::size_t i = 0; i < p.size(); ++i)
          worst = std::max(worst, std::fabs(static_cast<double>(got.p[i]) - want[i]));
        CHECK(worst < 1e-5);
      }
    }
}

TEST_CASE("few columns are what they are before others, bit for bit") {
  for (std::size_t rows : {33u, 1025u, 4097u})
    for (auto const& [few, r] : {std::pair{1u, 3u}, {2u, 3u}, {4u, 5u}, {4u, 8u}}) {
      CAPTURE(rows);
      CAPTURE(few);
      CAPTURE(r);
      auto const all = normal(rows * r);
      std::vector<float> first;
      for (std::size_t i = 0; i < all.size(); ++i)
        if (i % r < few) first.push_back(all[i]);
      auto const got = run(first, rows, few), want = run(all, rows, r);
      std::size_t at = 0, different = 0;
      for (std::size_t i = 0; i < all.size(); ++i)
        if (i % r < few) different += got.p[at++] != want.p[i];
      CHECK(different == 0);
    }
}

TEST_CASE("columns of very different size and direction") {
  std::size_t const rows = 2000, r = 6;
  auto p = normal(rows * r);
  for (std::size_t row = 0; row < rows; ++row) {
    auto* const x = p.data() + row * r;
    x[0] *= 1e20f;
    x[1] *= 1e-20f;
    x[2] = 1e-3f * x[2] + x[0] * 1e-20f;  // nearly parallel to the first, yet not dependent
    x[4] = 2e-4f * x[4] + x[3];           // so nearly that Cholesky is not trusted
  }
  auto const got = run(p, rows, r);
  CHECK(got.rank == 6);
  check_orthonormal(got, r);
}

TEST_CASE("columns that no pivot betrays: Kahan's matrix") {
  std::size_t const rows = 400, r = 32;
  auto const q = run(normal(rows * r), rows, r).p;
  for (double s : {0.806, 0.85, 0.9}) {
    CAPTURE(s);
    auto const c = std::sqrt(1 - s * s);
    std::vector<float> p(rows * r);
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t j = 0; j < r; ++j) {
        double x = std::pow(s, static_cast<double>(j)) * static_cast<double>(q[row * r + j]);
        for (std::size_t i = 0; i < j; ++i)
          x -= c * std::pow(s, static_cast<double>(i)) * static_cast<double>(q[row * r + i]);
        p[row * r + j] = static_cast<float>(x);
      }
    auto const got = run(p, rows, r);
    CHECK(got.rank == 32);
    check_orthonormal(got, r);
  }
}

TEST_CASE("dependent and zero columns become zero and are not counted") {
  std::size_t const rows = 1500, r = 7;
  auto p = normal(rows * r);
  for (std::size_t row = 0; row < rows; ++row) {
    auto* const x = p.data() + row * r;
    x[1] = 0;
    x[2] = -3 * x[0];
    x[5] = 0.3f * x[0] - 7 * x[3] + 2 * x[4];
  }
  auto const got = run(p, rows, r);
  CHECK(got.rank == 4);
  check_orthonormal(got, r);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t j : {1u, 2u, 5u}) CHECK(bits(got.p[row * r + j]) == 0);

  auto const none = run(std::vector<float>(rows * r, -0.f), rows, r);
  CHECK(none.rank == 0);
  CHECK(same_bits(none.p, std::vector<float>(rows * r, 0.f)));
}

TEST_CASE("no more columns than rows") {
  CHECK(run({}, 0, 4).rank == 0);
  CHECK(run({-5e-40f}, 1, 1).p == std::vector<float>{-1.f});
  CHECK(run({2.f, 3.f, 4.f}, 1, 3).p == std::vector<float>{1.f, 0.f, 0.f});
  auto const got = run(normal(5 * 32), 5, 32);
  CHECK(got.rank == 5);
  check_orthonormal(got, 32);
}

TEST_CASE("columns that are not finite become zero, the others do not notice") {
  std::size_t const rows = 1100, r = 4;
  auto const clean = normal(rows * r);
  for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto p = clean, zero = clean;
    p[700 * r + 1] = bad;
    for (std::size_t row = 0; row < rows; ++row) zero[row * r + 1] = 0;
    auto const got = run(p, rows, r);
    CHECK(got.rank == 3);
    CHECK(same_bits(got.p, run(zero, rows, r).p));
    // Also on the way of Gram and Schmidt.
    for (std::size_t row = 0; row < rows; ++row) p[row * r + 3] = zero[row * r + 3] = 2 * p[row * r];
    auto const few = run(p, rows, r);
    CHECK(few.rank == 2);
    CHECK(same_bits(few.p, run(zero, rows, r).p));
  }
}

TEST_CASE("a basis stays what it is") {
  std::size_t const rows = 3000, r = 4;
  auto const once = run(normal(rows * r), rows, r);
  auto const twice = run(once.p, rows, r);
  double worst = 0;
  for (std::size_t i = 0; i < rows * r; ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(once.p[i]) - static_cast<double>(twice.p[i])));
  CHECK(worst < 1e-7);
}
