// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/spectral_atomo.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/low_rank_matrices.hpp"

#include <map>
#include <memory>

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<spectral_atomo>);
static_assert(!projector<spectral_atomo*>);
static_assert(!spectral_atomo::linear && spectral_atomo::rounds == 1);
static_assert(spectral_atomo{.budget = 2}.coefficients({7, 5}, 0) == 24);
static_assert(spectral_atomo{.budget = 9}.coefficients({7, 5}, 0) == 60);
static_assert(spectral_atomo{}.coefficients({0, 1}, 0) == 0 && spectral_atomo{}.coefficients({31, 1}, 0) == 32);

namespace {

/// Probabilities of the singular values, largest first.
std::vector<double> probabilities(std::vector<double> const& values, std::size_t budget) {
  std::vector<double> p(values.size());
  kernel::fill_water(values.data(), values.size(), budget, p.data());
  return p;
}
double variance(std::vector<double> const& values, std::vector<double> const& p) {
  double sum = 0;
  for (std::size_t l = 0; l < values.size(); ++l)
    if (p[l] > 0) sum += values[l] * values[l] * (1 / p[l] - 1);
  return sum;
}
/// Column j of the factors, left and right together.
floats atom(floats const& c, shape d, std::size_t s, std::size_t j) {
  floats both;
  for (std::size_t i = 0; i < d.rows + d.cols; ++i) both.push_back(c[i * s + j]);
  return both;
}
void add_atom(floats const& a, shape d, double factor, std::vector<double>& to) {
  for (std::size_t i = 0; i < d.rows; ++i)
    for (std::size_t j = 0; j < d.cols; ++j)
      to[i * d.cols + j] += factor * static_cast<double>(a[i]) * static_cast<double>(a[d.rows + j]);
}
/// A matrix whose singular values are apart from one another.
floats spread(shape d) { return plus(of_rank(2, d, 2), times(0.5f, of_rank(6, d, 8))); }

}  // namespace

TEST_CASE("project::spectral_atomo obeys the laws of projectors") {
  for (int const budget : {1, 2, 4, 32}) check_projector(spectral_atomo{.budget = budget});
}

TEST_CASE("project::spectral_atomo is unbiased: every atom that is ever sent, times its probability, is the matrix") {
  for (shape const d : {shape{6, 9}, shape{9, 6}, shape{7, 7}})
    for (std::size_t const s : {1u, 2u, 3u}) {
      CAPTURE(d.rows);
      CAPTURE(s);
      auto const a = spread(d);
      auto const values = singular_values(a, d);
      auto const p = probabilities(values, s);
      projecting<spectral_atomo> at({.budget = static_cast<int>(s)}, d);
      std::map<floats, int> often;  // an atom has always the same bits
      constexpr int draws = 4000;
      for (int t = 0; t < draws; ++t, ++at.r.ctx.number) {
        auto const c = at.project(0, a);
        for (std::size_t j = 0; j < s; ++j) ++often[atom(c, d, s, j)];
      }
      CHECK(often.size() == values.size());
      std::vector<double> mean(d.size());
      for (auto const& [one, count] : often) {
        double length = 0, along = 0;  // left^T a right = |left| sigma: so much for which atom it is
        for (std::size_t i = 0; i < d.rows; ++i) {
          length += static_cast<double>(one[i]) * static_cast<double>(one[i]);
          for (std::size_t j = 0; j < d.cols; ++j)
            along += static_cast<double>(one[i]) * static_cast<double>(a[i * d.cols + j]) *
                     static_cast<double>(one[d.rows + j]);
        }
        auto const sigma = along / std::sqrt(length);
        std::size_t l = 0;
        while (l < values.size() && std::abs(sigma - values[l]) > 1e-5 * values[0]) ++l;
        REQUIRE(l < values.size());
        add_atom(one, d, p[l], mean);
        auto const expected = p[l] * draws;
        CHECK(std::abs(count - expected) <= 5 * std::sqrt(expected * (1 - p[l])) + 1e-6);
      }
      floats const total(mean.begin(), mean.end());
      CHECK(distance(total, a) <= 1e-6 * std::sqrt(squared(a)));
    }
}

TEST_CASE("project::spectral_atomo has the variance of independent draws: the sum of sigma^2 (1/p - 1)") {
  for (shape const d : {shape{12, 8}, shape{9, 20}})
    for (std::size_t const s : {1u, 2u, 5u}) {
      auto const a = heavy_tailed(d.size(), 4);
      auto const values = singular_values(a, d);
      projecting<spectral_atomo> at({.budget = static_cast<int>(s)}, d);
      double error = 0;
      constexpr int draws = 1500;
      for (int t = 0; t < draws; ++t) {  // step() goes to the next key
        auto const off = distance(at.step(a), a);
        error += off * off / draws;
      }
      CHECK(error == doctest::Approx(variance(values, probabilities(values, s))).epsilon(0.03));
    }
}

TEST_CASE("project::spectral_atomo is exact where the budget reaches the rank, in every draw") {
  for (shape const d : {shape{40, 25}, shape{25, 40}, shape{3, 97}, shape{1, 31}, shape{31, 1}})
    for (std::size_t const r : {0u, 1u, 2u, 3u})
      for (float const scale : {1.f, 1e-25f, 1e25f}) {
        if (r > std::min(d.rows, d.cols)) continue;
        auto const m = times(scale, of_rank(r, d, 7));
        CAPTURE(d.rows);
        CAPTURE(r);
        projecting<spectral_atomo> at({.budget = static_cast<int>(std::max<std::size_t>(1, r))}, d);
        auto const first = at.step(m);
        CHECK(distance(first, m) <= 2e-6 * std::sqrt(squared(m)));
        for (int t = 0; t < 50; ++t) CHECK(identical(at.step(m), first));
      }
}

TEST_CASE(
    "project::spectral_atomo sends no more than its budget, certain atoms always, and zeros where there is none") {
  shape const d{20, 15};
  constexpr std::size_t s = 4;
  projecting<spectral_atomo> at({.budget = s}, d);
  auto const large = plus(times(100.f, of_rank(1, d, 3)), heavy_tailed(d.size(), 5));
  auto const first = atom(at.project(0, large), d, s, 0);
  for (int t = 0; t < 30; ++t, ++at.r.ctx.number) {
    auto const c = at.project(0, large);
    CHECK(identical(atom(c, d, s, 0), first));
    for (std::size_t j = 0; j < s; ++j) CHECK(squared(atom(c, d, s, j)) > 1);
  }
  auto const few = at.project(0, of_rank(2, d, 6));
  CHECK(squared(atom(few, d, s, 1)) > 1);
  for (std::size_t const j : {2u, 3u}) CHECK(identical(atom(few, d, s, j), floats(d.rows + d.cols)));
  CHECK(identical(at.project(0, floats(d.size())), floats(s * (d.rows + d.cols))));
}

TEST_CASE("project::spectral_atomo averaged over ranks that draw for themselves: the variance falls by their number") {
  constexpr int P = 4, draws = 4000;
  shape const d{10, 14};
  floats const a = heavy_tailed(d.size(), 9);
  std::vector<std::unique_ptr<projecting<spectral_atomo>>> ranks;
  for (int r = 0; r < P; ++r) ranks.push_back(std::make_unique<projecting<spectral_atomo>>(spectral_atomo{}, d, r));
  double error = 0;
  bool differ = false;
  for (int t = 0; t < draws; ++t) {
    floats mean(d.size()), last;
    for (auto const& one : ranks) {
      auto const x = one->step(a);
      differ |= !last.empty() && !identical(x, last);
      last = x;
      mean = plus(mean, times(1.f / P, x));
    }
    auto const off = distance(mean, a);
    error += off * off / draws;
  }
  auto const values = singular_values(a, d);
  CHECK(differ);
  CHECK(error == doctest::Approx(variance(values, probabilities(values, 2)) / P).epsilon(0.05));
}

TEST_CASE("project::spectral_atomo repeats itself by rank and step") {
  shape const d{12, 30};
  auto const a = heavy_tailed(d.size(), 3);
  projecting<spectral_atomo> at({}, d), twin({}, d);
  for (int t = 0; t < 5; ++t) CHECK(identical(at.step(a), twin.step(a)));
}

TEST_CASE("project::spectral_atomo has a text form, refuses budgets outside 1..32 and matrices that are too large") {
  CHECK(describe(spectral_atomo{.budget = 4}) == "spectral_atomo(budget=4)");
  CHECK_NOTHROW(spectral_atomo{.budget = 32}.check());
  for (int const budget : {0, -1, 33}) CHECK_THROWS_AS(spectral_atomo{.budget = budget}.check(), configuration_error);
  for (shape const d : {shape{512, 512}, shape{512, 100000}, shape{100000, 512}, shape{0, 1}, shape{1000000, 1}})
    CHECK_NOTHROW(spectral_atomo{}.check(d));
  CHECK_THROWS_WITH_AS(spectral_atomo{}.check(shape{513, 600}),
                       "spectral_atomo: a matrix of 513 x 600 has too many singular values; the shorter side must be "
                       "512 at most",
                       configuration_error);
}
