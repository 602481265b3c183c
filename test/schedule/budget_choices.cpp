// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/budget_choices.hpp>

#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/kernel_cases.hpp"
#include "../support/lone_rank.hpp"
#include "../support/planted.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
std::vector<budget_choice> ranks_of(floats m, shape d, int lowest, int highest, int iterations = 5) {
  return rank_choices(host(), over(m), d, lowest, highest, iterations);
}
/// What the best rank r leaves, from the singular values.
double tail(std::vector<double> const& sigma, std::size_t r) {
  double sum = 0;
  for (auto j = r; j < sigma.size(); ++j) sum += sigma[j] * sigma[j];
  return std::sqrt(sum);
}
}  // namespace

TEST_CASE("schedule::budget_choices: ranks have the errors that the singular values say") {
  std::vector<std::vector<double>> const spectra = {
      {1},  // exactly of low rank: no difference of large sums may hide a small error
      {8, 4, 2, 1, 0.5, 0.25, 0.125},
      {5, 5, 5, 1, 1, 1e-3},
      {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1},
      {1e-12, 1e-13}};
  for (auto const& sigma : spectra)
    for (shape const d : {shape{40, 300}, shape{300, 40}, shape{37, 37}}) {
      auto const m = planted(d, sigma);
      auto const choices = ranks_of(m, d, 1, 8, 12);
      REQUIRE(choices.size() == 8);
      for (std::size_t r = 1; r <= 8; ++r) {
        auto const best = tail(sigma, r), rounding = 1e-6 * tail(sigma, 0);
        CAPTURE(r);
        CHECK(choices[r - 1].value == static_cast<double>(r));
        CHECK(choices[r - 1].bytes == 4.0 * static_cast<double>(r * (d.rows + d.cols)));
        CHECK(choices[r - 1].error >= best - rounding);
        CHECK(choices[r - 1].error <= best * 1.01 + rounding);
      }
      auto const few = ranks_of(m, d, 2, 4);  // the published five iterations and a gap as it happens to be
      REQUIRE(few.size() == 3);
      for (std::size_t r = 2; r <= 4; ++r) {
        CHECK(few[r - 2].error >= tail(sigma, r) - 1e-6 * tail(sigma, 0));
        CHECK(few[r - 2].error <= tail(sigma, r) * 1.1 + 1e-6 * tail(sigma, 0));
      }
    }
}

TEST_CASE("schedule::budget_choices: the matrix becomes what the highest rank leaves") {
  shape const d{50, 60};
  std::vector<double> const sigma = {4, 3, 2, 1};
  auto m = planted(d, sigma);
  auto const choices = rank_choices(host(), over(m), d, 1, 3, 20);
  CHECK(std::sqrt(squared(m)) == doctest::Approx(choices[2].error).epsilon(1e-6));
  CHECK(std::sqrt(squared(m)) == doctest::Approx(1).epsilon(1e-3));
}

TEST_CASE("schedule::budget_choices: every path of instructions measures the same errors") {
  shape const d{130, 333};
  auto const m = heavy_tailed(d.size());
  auto const once = ranks_of(m, d, 1, 9);
  for_each_isa([&] {
    auto const again = ranks_of(m, d, 1, 9);
    for (std::size_t r = 0; r < once.size(); ++r) CHECK(again[r].error == once[r].error);
  });
}

TEST_CASE("schedule::budget_choices: full ranks, vectors, zeros, nothing, and what is not finite") {
  auto const x = heavy_tailed(12);
  auto const c = ranks_of(x, {3, 4}, 1, 5);
  CHECK(c[1].error > 0);
  for (std::size_t r = 3; r <= 5; ++r) {
    CHECK(c[r - 1].error == 0);
    CHECK(c[r - 1].bytes == 4 * 3 * 7);
  }
  CHECK(ranks_of(x, {12, 1}, 1, 2)[0].error == 0);
  CHECK(ranks_of(x, {1, 12}, 1, 2)[1].bytes == 4 * 13);
  for (auto const& z : ranks_of(floats(12, 0.f), {3, 4}, 1, 2)) CHECK(z.error == 0);
  for (auto const& z : ranks_of({}, {0, 4}, 1, 2)) CHECK((z.error == 0 && z.bytes == 0));
  for (auto const bad : not_finite) {
    auto y = x;
    y[5] = bad;
    for (auto const& z : ranks_of(y, {3, 4}, 1, 3)) CHECK(std::isnan(z.error));
    for (auto const& z : density_choices(y, std::vector<double>{0.1, 1})) CHECK(std::isnan(z.error));
    for (auto const& z : bit_choices(host(), over(std::as_const(y)), std::vector<int>{8, 2}, stochastic_int{}))
      CHECK(std::isnan(z.error));
  }
  CHECK_THROWS_WITH_AS(ranks_of(x, {3, 4}, 0, 2), doctest::Contains("1..32"), configuration_error);
  CHECK_THROWS_WITH_AS(ranks_of(x, {3, 4}, 1, 33), doctest::Contains("1..32"), configuration_error);
  CHECK_THROWS_WITH_AS(ranks_of(x, {3, 4}, 3, 2), doctest::Contains("ascend"), configuration_error);
  CHECK_THROWS_WITH_AS(ranks_of(x, {3, 5}, 1, 2), doctest::Contains("12 elements, not 3 x 5"), configuration_error);
}

TEST_CASE("schedule::budget_choices: densities keep the largest entries") {
  floats const x = {3, -4, 0, 1, -1, 2, 0, 0, 0, 0};
  auto const c = density_choices(x, std::vector<double>{0.01, 0.2, 0.5, 1});
  double const left[] = {15, 6, 0, 0};
  double const bytes[] = {8, 16, 40, 80};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(c[i].error == doctest::Approx(std::sqrt(left[i])));
    CHECK(c[i].bytes == bytes[i]);
  }
  CHECK(c[1].value == 0.2);
  CHECK(density_choices({}, std::vector<double>{0.1})[0].bytes == 0);
  CHECK_THROWS_WITH_AS(density_choices(x, std::vector<double>{0}), doctest::Contains("(0, 1]"), configuration_error);
}

TEST_CASE("schedule::budget_choices: bits have the error of the decoded codes") {
  auto const x = heavy_tailed(5000);
  stochastic_int const q{.block = 64, .mode = rounding::nearest};
  auto const c = bit_choices(host(), over(x), std::vector<int>{8, 4, 2}, q);
  REQUIRE(c.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    auto of = q;
    of.bits = static_cast<int>(c[i].value);
    lone_rank r(3, 4);
    std::vector<std::byte> codes(of.code_bytes(x.size()) + 4);
    floats y(x.size());
    of.encode(r.ctx, over(x), bytes<host>(codes.data(), of.code_bytes(x.size())));
    of.decode(r.ctx, in_bytes<host>(codes.data(), of.code_bytes(x.size())), over(y));
    for (std::size_t k = 0; k < x.size(); ++k) y[k] -= x[k];
    CHECK(c[i].error == doctest::Approx(std::sqrt(squared(y))).epsilon(1e-5));
    CHECK(c[i].bytes == static_cast<double>(of.code_bytes(x.size())));
    if (i > 0) CHECK(c[i].error > 2 * c[i - 1].error);
  }
  CHECK_THROWS_AS(bit_choices(host(), over(x), std::vector<int>{3}, q), configuration_error);
}
