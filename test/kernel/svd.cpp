// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/svd.hpp>

#include <gradpress/core/checksum.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>
#include <span>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using floats = std::vector<float>;
using doubles = std::vector<double>;
using host = Kokkos::DefaultHostExecutionSpace;

struct matrix {
  std::size_t rows, cols;
  floats x;
  float operator()(std::size_t i, std::size_t j) const { return x[i * cols + j]; }
};

floats uniform(std::size_t n, std::uint64_t seed) {
  floats x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = 2 * key{seed}.uniform(i) - 1;
  return x;
}
/// n x r, orthonormal columns up to rounding.
doubles basis(std::size_t n, std::size_t r, std::uint64_t seed) {
  auto const x = uniform(n * r, seed);
  doubles q(x.begin(), x.end());
  auto const product = [&](std::size_t i, std::size_t j) {
    double sum = 0;
    for (std::size_t k = 0; k < n; ++k) sum += q[k * r + i] * q[k * r + j];
    return sum;
  };
  for (std::size_t j = 0; j < r; ++j)
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t i = 0; i < j; ++i) {
        auto const p = product(i, j);
        for (std::size_t k = 0; k < n; ++k) q[k * r + j] -= p * q[k * r + i];
      }
      auto const norm = std::sqrt(product(j, j));
      for (std::size_t k = 0; k < n; ++k) q[k * r + j] /= norm;
    }
  return q;
}
/// U diag(sigma) V^T with random U and V.
struct known {
  doubles sigma, U, V;
  matrix M;
  known(std::size_t rows, std::size_t cols, doubles s, std::uint64_t seed = 1)
      : sigma(std::move(s)),
        U(basis(rows, sigma.size(), seed)),
        V(basis(cols, sigma.size(), seed + 1000)),
        M{rows, cols, floats(rows * cols)} {
    auto const r = sigma.size();
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < cols; ++j) {
        double x = 0;
        for (std::size_t l = 0; l < r; ++l) x += sigma[l] * U[i * r + l] * V[j * r + l];
        M.x[i * cols + j] = static_cast<float>(x);
      }
  }
};
matrix scaled(matrix m, float by) {
  for (auto& x : m.x) x *= by;
  return m;
}
double norm(floats const& x) {
  double sum = 0;
  for (auto const v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

struct small_svd {
  doubles values, vectors;
  bool finite;
};
small_svd run_small(matrix const& M) {
  auto const m = std::min(M.rows, M.cols);
  guarded<float> in(M.x);
  guarded<double> values(m, 8), vectors(m * m, 8);
  guarded<std::byte> work(kernel::svd_small_workspace(M.rows, M.cols), 1);
  auto const finite = kernel::svd_small(host{}, in.get(), M.rows, M.cols, work.get(), values.get(), vectors.get());
  CHECK(values.intact());
  CHECK(vectors.intact());
  CHECK(work.intact());
  return {values.values(), vectors.values(), finite};
}
struct pair {
  floats left, right;
};
/// Elements `stride` apart; nobody has written between them.
floats every(guarded<float> const& x, std::size_t stride) {
  floats some;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % stride == 0)
      some.push_back(x[i]);
    else
      CHECK(x[i] == 7);
  }
  return some;
}
pair run_pair(matrix const& M, double const* w, double factor, std::size_t stride = 1) {
  guarded<float> in(M.x), left(M.rows * stride), right(M.cols * stride);
  std::fill_n(left.get(), left.size(), 7.f), std::fill_n(right.get(), right.size(), 7.f);
  guarded<std::byte> work(kernel::singular_pair_workspace(M.rows, M.cols), 1);
  kernel::singular_pair(host{}, in.get(), M.rows, M.cols, w, factor, work.get(), left.get(), right.get(), stride);
  CHECK(left.intact());
  CHECK(right.intact());
  CHECK(work.intact());
  return {every(left, stride), every(right, stride)};
}
floats run_top(matrix const& M, std::size_t r, std::uint64_t seed = 3) {
  guarded<float> in(M.x), V(M.cols * r);
  guarded<std::byte> work(kernel::top_right_singular_workspace(M.rows, M.cols, r), 1);
  kernel::top_right_singular(host{}, in.get(), M.rows, M.cols, r, key{seed}, work.get(), V.get());
  CHECK(V.intact());
  CHECK(work.intact());
  return V.values();
}
void check_orthonormal(floats const& V, std::size_t r) {
  double worst = 0;
  for (std::size_t j = 0; j < r; ++j)
    for (std::size_t i = 0; i <= j; ++i) {
      double x = i == j ? -1 : 0;
      for (std::size_t k = 0; k < V.size(); k += r) x += static_cast<double>(V[k + i]) * static_cast<double>(V[k + j]);
      worst = std::max(worst, std::fabs(x));
    }
  CHECK(worst < 5e-7);
}
/// |M - M V V^T|.
double lost(matrix const& M, floats const& V, std::size_t r) {
  auto rest = M.x;
  for (std::size_t i = 0; i < M.rows; ++i) {
    doubles row(M.cols);
    for (std::size_t l = 0; l < r; ++l) {
      double x = 0;
      for (std::size_t j = 0; j < M.cols; ++j) x += static_cast<double>(M(i, j)) * static_cast<double>(V[j * r + l]);
      for (std::size_t j = 0; j < M.cols; ++j) row[j] += x * static_cast<double>(V[j * r + l]);
    }
    for (std::size_t j = 0; j < M.cols; ++j) rest[i * M.cols + j] -= static_cast<float>(row[j]);
  }
  return norm(rest);
}
doubles falling(std::size_t n, double ratio) {
  doubles s(n, 1.);
  for (std::size_t l = 1; l < n; ++l) s[l] = s[l - 1] * ratio;
  return s;
}
/// What is left of values behind the first r.
double tail(doubles const& s, std::size_t r) {
  double sum = 0;
  for (auto l = r; l < s.size(); ++l) sum += s[l] * s[l];
  return std::sqrt(sum);
}
template <class T>
std::uint64_t fingerprint(std::vector<T> const& x) {
  return checksum(std::as_bytes(std::span(x)));
}

constexpr float unknown = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("svd_small finds the values and vectors that a matrix was made of") {
  for (shape const d : {shape{1, 1}, shape{1, 31}, shape{31, 1}, shape{13, 29}, shape{29, 13}, shape{40, 40},
                        shape{17, 2100}, shape{1030, 11}, shape{64, 90}})
    for (float const scale : {1.f, 1e-30f, 1e30f}) {
      CAPTURE(d.rows);
      CAPTURE(d.cols);
      CAPTURE(scale);
      auto const m = std::min(d.rows, d.cols);
      known const k(d.rows, d.cols, falling(m, 0.9));
      auto const M = scaled(k.M, scale);
      auto const got = run_small(M);
      CHECK(got.finite);
      for (std::size_t l = 0; l < m; ++l) {
        CHECK(got.values[l] / static_cast<double>(scale) == doctest::Approx(k.sigma[l]).epsilon(3e-6));
        auto const p = run_pair(M, got.vectors.data() + l * m, 2, 3);
        CHECK(norm(p.left) == doctest::Approx(2 * got.values[l]).epsilon(1e-5));
        double along_u = 0, along_v = 0;
        for (std::size_t i = 0; i < d.rows; ++i) along_u += static_cast<double>(p.left[i]) * k.U[i * m + l];
        for (std::size_t j = 0; j < d.cols; ++j) along_v += static_cast<double>(p.right[j]) * k.V[j * m + l];
        CHECK(std::fabs(along_v) == doctest::Approx(1).epsilon(1e-6));
        CHECK(along_u * along_v == doctest::Approx(2 * k.sigma[l] * static_cast<double>(scale)).epsilon(1e-5));
      }
    }
}

TEST_CASE("svd_small: all pairs together are the matrix, of full rank or not") {
  for (auto const& M :
       {known(20, 33, falling(3, 0.1)).M, known(33, 20, falling(5, 0.5)).M, matrix{9, 7, uniform(63, 4)},
        matrix{7, 9, uniform(63, 4)}, matrix{3, 4, floats(12)}, known(12, 12, {1, 1, 1, 1}).M}) {
    auto const m = std::min(M.rows, M.cols);
    auto const d = run_small(M);
    auto rest = M.x;
    for (std::size_t l = 0; l < m; ++l) {
      auto const p = run_pair(M, d.vectors.data() + l * m, 1);
      for (std::size_t i = 0; i < M.rows; ++i)
        for (std::size_t j = 0; j < M.cols; ++j) rest[i * M.cols + j] -= p.left[i] * p.right[j];
    }
    CHECK(norm(rest) <= 1e-6 * norm(M.x));
  }
}

TEST_CASE("svd_small at its edges") {
  CHECK(run_small({0, 1, {}}).finite);
  CHECK(run_small({5, 0, {}}).values.empty());
  auto const zero = run_small({4, 3, floats(12)});
  CHECK(zero.values == doubles{0, 0, 0});
  auto const p = run_pair({2, 3, floats(6)}, doubles{1, 0}.data(), 1);
  CHECK(same_bits(p.left, floats(2)));
  CHECK(same_bits(p.right, floats(3)));
  for (float const bad : {unknown, infinite}) {
    auto x = uniform(12, 1);
    x[7] = bad;
    auto const d = run_small({3, 4, x});
    CHECK_FALSE(d.finite);
    CHECK(d.values == doubles{0, 0, 0});
  }
}

TEST_CASE("top_right_singular finds the leading vectors where values fall") {
  for (shape const d :
       {shape{50, 70}, shape{70, 50}, shape{1, 31}, shape{31, 1}, shape{2, 3}, shape{1300, 47}, shape{47, 9000}}) {
    auto const m = std::min(d.rows, d.cols);
    known const k(d.rows, d.cols, falling(std::min<std::size_t>(m, 40), 0.7));
    for (std::size_t r : {1u, 2u, 4u, 17u, 32u})
      for (float const scale : {1.f, 1e-25f, 1e30f}) {
        if (r > m) continue;
        CAPTURE(d.rows);
        CAPTURE(d.cols);
        CAPTURE(r);
        auto const V = run_top(scaled(k.M, scale), r);
        check_orthonormal(V, r);
        CHECK(lost(k.M, V, r) <= tail(k.sigma, r) * 1.001 + 1e-5);
        auto const s = k.sigma.size();
        for (std::size_t l = 0; l < std::min<std::size_t>(r, 8); ++l) {  // in their order
          double along = 0;
          for (std::size_t j = 0; j < d.cols; ++j) along += static_cast<double>(V[j * r + l]) * k.V[j * s + l];
          CHECK(std::fabs(along) > 1 - 1e-3);
        }
      }
  }
}

TEST_CASE("top_right_singular leaves little more than the best basis where values do not fall") {
  matrix const M{200, 300, uniform(200 * 300, 6)};
  auto const d = run_small(M);
  for (std::size_t r : {1u, 4u, 16u}) CHECK(lost(M, run_top(M, r), r) <= 1.01 * tail(d.values, r));
}

TEST_CASE("top_right_singular escapes subspaces: what it starts from is random, and has a share of every direction") {
  matrix M{60, 60, floats(3600)};
  M.x[59 * 60 + 59] = 1;
  auto const V = run_top(M, 1);
  CHECK(std::fabs(V[59]) == doctest::Approx(1).epsilon(1e-6));
}

TEST_CASE("top_right_singular fills up what the matrix lacks from the key") {
  for (auto const& M :
       {matrix{30, 20, floats(600)}, known(30, 20, {3.}).M, known(30, 20, {5., 2.}).M, matrix{1, 20, uniform(20, 1)},
        matrix{0, 20, {}}, matrix{4, 6, uniform(24, 2)}, matrix{3, 3, floats(9, 1.f)}, matrix{9, 1, floats(9)},
        matrix{5, 4, floats(20, infinite)}, matrix{5, 4, floats(20, unknown)}}) {
    auto const r = std::min<std::size_t>(M.cols, 6);
    auto const V = run_top(M, r), again = run_top(M, r), other = run_top(M, r, 4);
    check_orthonormal(V, r);
    check_orthonormal(other, r);
    CHECK(same_bits(V, again));
    if (std::isfinite(norm(M.x))) CHECK(lost(M, V, r) <= 1e-5 * norm(M.x));
    if (r == 6 && M.rows != 4) CHECK_FALSE(same_bits(V, other));
  }
}

TEST_CASE("singular vectors have the same bits on every path and every machine") {
  matrix const wide{61, 777, uniform(61 * 777, 8)}, tall{777, 61, uniform(61 * 777, 9)};
  for_each_isa([&] {
    CHECK(fingerprint(run_top(wide, 5)) == 18163898400020781968u);
    CHECK(fingerprint(run_top(tall, 5)) == 14266037025636904435u);
    CHECK(fingerprint(run_small(wide).vectors) == 16190626494159323537u);
    CHECK(fingerprint(run_small(tall).vectors) == 10712403519968991802u);
    auto const d = run_small(wide);
    CHECK(fingerprint(run_pair(wide, d.vectors.data(), 1).right) == 15700995466849494354u);
  });
}
