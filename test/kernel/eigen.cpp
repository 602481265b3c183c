// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/eigen.hpp>

#include <gradpress/core/checksum.hpp>
#include <gradpress/core/philox.hpp>

#include "../support/guarded.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using doubles = std::vector<double>;

struct decomposition {
  doubles values, vectors;  // row l is vector l
  bool finite;
};

decomposition run(doubles const& A, std::size_t m) {
  Kokkos::DefaultHostExecutionSpace const exec;
  guarded<double> a(A, 8), values(m, 8);
  guarded<std::byte> work(kernel::symmetric_eigen_workspace(m), 1);
  auto const finite = kernel::symmetric_eigen(exec, a.get(), m, work.get(), values.get());
  CHECK(a.intact());
  CHECK(values.intact());
  CHECK(work.intact());
  return {values.values(), a.values(), finite};
}

double dot(double const* x, double const* y, std::size_t m) {
  double sum = 0;
  for (std::size_t i = 0; i < m; ++i) sum += x[i] * y[i];
  return sum;
}
/// In [-1, 1), the same in every run.
doubles uniform(std::size_t n, std::uint64_t seed) {
  doubles x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = 2 * static_cast<double>(key{seed}.uniform(i)) - 1;
  return x;
}
/// m orthonormal rows, by Gram and Schmidt.
doubles orthonormal(std::size_t m, std::uint64_t seed) {
  auto q = uniform(m * m, seed);
  for (std::size_t i = 0; i < m; ++i) {
    auto* const row = q.data() + i * m;
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t k = 0; k < i; ++k) {
        auto const x = dot(q.data() + k * m, row, m);
        for (std::size_t j = 0; j < m; ++j) row[j] -= x * q[k * m + j];
      }
      auto const norm = std::sqrt(dot(row, row, m));
      for (std::size_t j = 0; j < m; ++j) row[j] /= norm;
    }
  }
  return q;
}
/// Sum of values[l] v_l v_l^T.
doubles composed(doubles const& values, doubles const& vectors) {
  auto const m = values.size();
  doubles A(m * m);
  for (std::size_t l = 0; l < m; ++l)
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < m; ++j) A[i * m + j] += values[l] * vectors[l * m + i] * vectors[l * m + j];
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j < i; ++j) A[j * m + i] = A[i * m + j];
  return A;
}
/// Ordered, orthonormal, of the right sign, and A v = value v.
void check_eigen(doubles const& A, std::size_t m, decomposition const& d) {
  double largest = 0;
  for (auto const x : A) largest = std::max(largest, std::fabs(x));
  auto const tolerance = 1e-14 * static_cast<double>(m) * largest;
  CHECK(d.finite);
  CHECK(std::is_sorted(d.values.rbegin(), d.values.rend()));
  double worst = 0, skew = 0;
  for (std::size_t l = 0; l < m; ++l) {
    auto const* const v = d.vectors.data() + l * m;
    for (std::size_t i = 0; i < m; ++i)
      worst = std::max(worst, std::fabs(dot(A.data() + i * m, v, m) - d.values[l] * v[i]));
    for (std::size_t k = 0; k <= l; ++k)
      skew = std::max(skew, std::fabs(dot(d.vectors.data() + k * m, v, m) - (k == l ? 1. : 0.)));
    auto const low = *std::min_element(v, v + m), high = *std::max_element(v, v + m);
    CHECK(high >= -low);
  }
  CHECK(worst <= tolerance);
  CHECK(skew <= 1e-14 * static_cast<double>(m));
}
doubles times(double factor, doubles x) {
  for (auto& v : x) v *= factor;
  return x;
}

}  // namespace

TEST_CASE("matrices whose eigenvalues are known in closed form") {
  SUBCASE("[2 1; 1 2]") {
    auto const d = run({2, 1, 1, 2}, 2);
    auto const h = std::sqrt(0.5);
    CHECK(d.values[0] == doctest::Approx(3).epsilon(1e-15));
    CHECK(d.values[1] == doctest::Approx(1).epsilon(1e-15));
    for (auto const i : {0u, 1u, 2u}) CHECK(d.vectors[i] == doctest::Approx(h).epsilon(1e-15));
    CHECK(d.vectors[3] == doctest::Approx(-h).epsilon(1e-15));
  }
  SUBCASE("a diagonal is sorted, nothing else; equal values keep their order") {
    auto const d = run({2, 0, 0, 0, 0, -3, 0, 0, 0, 0, 7, 0, 0, 0, 0, 2}, 4);
    CHECK(d.values == doubles{7, 2, 2, -3});
    CHECK(d.vectors == doubles{0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0});
  }
  SUBCASE("second differences: 2 - 2 cos(k pi / (m + 1)), sines for vectors") {
    for (std::size_t m : {1u, 2u, 3u, 10u, 31u, 100u}) {
      doubles A(m * m);
      for (std::size_t i = 0; i < m; ++i) {
        A[i * m + i] = 2;
        if (i > 0) A[i * m + i - 1] = A[(i - 1) * m + i] = -1;
      }
      auto const d = run(A, m);
      check_eigen(A, m, d);
      for (std::size_t l = 0; l < m; ++l) {
        auto const angle = std::acos(-1.) * static_cast<double>(m - l) / static_cast<double>(m + 1);
        CHECK(std::fabs(d.values[l] - (2 - 2 * std::cos(angle))) < 1e-14 * static_cast<double>(m));
        double sines = 0;
        for (std::size_t i = 0; i < m; ++i)
          sines += d.vectors[l * m + i] * std::sin(angle * static_cast<double>(i + 1));
        CHECK(sines * sines == doctest::Approx(static_cast<double>(m + 1) / 2).epsilon(1e-10));
      }
    }
  }
  SUBCASE("ones: m, and zeros") {
    constexpr std::size_t m = 33;
    auto const d = run(doubles(m * m, 1.), m);
    check_eigen(doubles(m * m, 1.), m, d);
    CHECK(d.values[0] == doctest::Approx(33).epsilon(1e-14));
    for (std::size_t l = 1; l < m; ++l) CHECK(std::fabs(d.values[l]) < 1e-13);
  }
}

TEST_CASE("finds what a matrix was put together from, whatever its scale") {
  for (std::size_t m : {1u, 2u, 3u, 7u, 16u, 33u, 64u, 129u}) {
    CAPTURE(m);
    auto const vectors = orthonormal(m, m);
    auto values = times(10, uniform(m, m + 1000));
    std::sort(values.rbegin(), values.rend());
    if (m > 6) values[3] = values[4];  // their plane is known, their vectors are not
    auto const A = composed(values, vectors);
    for (double const scale : {1., 1e-30, 1e30, 0x1p-1000, 0x1p1000}) {
      CAPTURE(scale);
      auto const d = run(times(scale, A), m);
      check_eigen(times(scale, A), m, d);
      for (std::size_t l = 0; l < m; ++l) {
        CHECK(std::fabs(d.values[l] / scale - values[l]) < 1e-14 * static_cast<double>(m) * 10);
        double share = 0;  // of vector l in the space it belongs to
        for (std::size_t k = 0; k < m; ++k) {
          auto const x = dot(vectors.data() + k * m, d.vectors.data() + l * m, m);
          if (std::fabs(values[k] - values[l]) < 1e-7) share += x * x;
        }
        CHECK(share > 1 - 1e-6);
      }
    }
    auto const plain = run(A, m), doubled = run(times(0x1p600, A), m);
    CHECK(plain.vectors == doubled.vectors);
    CHECK(times(0x1p600, plain.values) == doubled.values);
  }
}

TEST_CASE("matrices of low rank, of no rank, and of no size") {
  constexpr std::size_t m = 40;
  doubles A(m * m);
  for (std::uint64_t k = 0; k < 5; ++k) {
    auto const x = uniform(m, k);
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < m; ++j) A[i * m + j] += x[i] * x[j];
  }
  auto const d = run(A, m);
  check_eigen(A, m, d);
  CHECK(d.values[4] > 1);
  for (std::size_t l = 5; l < m; ++l) CHECK(std::fabs(d.values[l]) < 1e-14 * d.values[0]);

  auto const none = run(doubles(9), 3);
  CHECK(none.finite);
  CHECK(none.values == doubles{0, 0, 0});
  CHECK(none.vectors == doubles{1, 0, 0, 0, 1, 0, 0, 0, 1});
  CHECK(run({}, 0).finite);
  CHECK(run({-4}, 1).values == doubles{-4});
}

TEST_CASE("values of very different size: graded matrices keep their small values to 2^-64 of the largest entry") {
  doubles const values = {1e10, 1, 1e-5};
  auto const d = run(composed(values, {1, 0, 0, 0, 0.8, 0.6, 0, -0.6, 0.8}), 3);
  CHECK(d.values[0] == 1e10);
  CHECK(d.values[1] == doctest::Approx(1).epsilon(1e-15));
  CHECK(d.values[2] == doctest::Approx(1e-5).epsilon(1e-10));
}

TEST_CASE("NaN and infinity are told, and leave no trace in the output") {
  for (double const bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()})
    for (std::size_t const at : {0u, 3u, 8u}) {  // of the lower triangle
      auto A = composed({3, 2, 1}, orthonormal(3, 5));
      A[at] = bad;
      auto const d = run(A, 3);
      CHECK_FALSE(d.finite);
      CHECK(d.values == doubles{0, 0, 0});
      CHECK(d.vectors == doubles{1, 0, 0, 0, 1, 0, 0, 0, 1});
    }
}

TEST_CASE("reads the lower triangle only") {
  constexpr std::size_t m = 12;
  auto const A = composed(uniform(m, 1), orthonormal(m, 2));
  auto half = A;
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = i + 1; j < m; ++j) half[i * m + j] = std::numeric_limits<double>::quiet_NaN();
  auto const one = run(A, m), other = run(half, m);
  CHECK(one.values == other.values);
  CHECK(one.vectors == other.vectors);
}

TEST_CASE("the same bits on every machine, for every compiler and number of threads") {
  // Recorded once. A change here means that ranks of different builds no longer agree: do not record it again lightly.
  constexpr std::size_t m = 300;  // rows in several chunks
  doubles A(m * m);
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j <= i; ++j) A[i * m + j] = static_cast<double>(key{8}.uniform(i * m + j)) - 0.5;
  auto d = run(A, m);
  d.vectors.insert(d.vectors.end(), d.values.begin(), d.values.end());
  CHECK(checksum(std::as_bytes(std::span(d.vectors))) == 7555305650048617143u);
}
