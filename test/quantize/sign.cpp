// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/sign.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<gradpress::sign>);
static_assert(!quantizer<gradpress::sign&>);
static_assert(std::same_as<gradpress::sign::adds_as, void>);
static_assert(gradpress::sign{.block = 32}.code_bytes(33) == 2 * 4 + 2 * 4);
static_assert(gradpress::sign{.block = 64}.code_bytes(33) == 1 * 4 + 2 * 4);
static_assert(gradpress::sign{}.code_bytes(0) == 0);

namespace {
/// |x - decoded|^2 and |x|^2 - |x|_1^2 / m, block by block.
struct energies {
  double left = 0, formula = 0;
};
energies energies_of(gradpress::sign const& q, floats const& x) {
  auto const y = round_trip(q, x);
  energies e;
  auto const block = static_cast<std::size_t>(q.block);
  for (std::size_t from = 0; from < x.size(); from += block) {
    double l1 = 0, l2 = 0;
    auto const end = std::min(x.size(), from + block);
    for (auto i = from; i < end; ++i) {
      auto const v = static_cast<double>(x[i]), d = v - static_cast<double>(y[i]);
      l1 += std::abs(v), l2 += v * v, e.left += d * d;
    }
    e.formula += l2 - l1 * l1 / static_cast<double>(end - from);
  }
  return e;
}
}  // namespace

TEST_CASE("quantize::sign obeys the laws of quantizers") {
  check_quantizer(gradpress::sign{.block = 32}, {.leading_floats = [](std::size_t m) { return (m + 31) / 32; }});
  check_quantizer(gradpress::sign{.block = 64}, {.leading_floats = [](std::size_t m) { return (m + 63) / 64; }});
  check_quantizer(gradpress::sign{}, {.leading_floats = [](std::size_t m) { return (m + 1023) / 1024; }});
}

TEST_CASE("quantize::sign is a contraction, with equality: |x - q|^2 = |x|^2 - |x|_1^2 / m in each block") {
  for (int const block : {32, 64, 1024})
    for (std::size_t const n : {1u, 31u, 33u, 1000u, 4097u}) {
      CAPTURE(block);
      CAPTURE(n);
      auto const x = heavy_tailed(n);
      auto const e = energies_of({.block = block}, x);
      CHECK(std::abs(e.left - e.formula) <= 1e-5 * squared(x));
    }
}

TEST_CASE("quantize::sign leaves 1 - 1/64 of a one-hot vector of 64, and nothing of a constant one") {
  floats one_hot(64);
  one_hot[17] = -3.f;
  auto const e = energies_of({.block = 64}, one_hot);
  CHECK(e.left / squared(one_hot) == doctest::Approx(1 - 1. / 64).epsilon(1e-6));
  floats const flat(64, -1.5f);
  CHECK(identical(round_trip(gradpress::sign{.block = 64}, flat), flat));
}

TEST_CASE("quantize::sign decodes to the mean magnitude of the block, with the value's sign; zero is positive") {
  floats x(40, 1.f);
  x[3] = -5.f, x[4] = 0.f, x[5] = -0.f, x[35] = -9.f;  // blocks of 32: mean magnitude 34/32... and (7 + 9)/8
  auto const y = round_trip(gradpress::sign{.block = 32}, x);
  CHECK(y[0] == 34.f / 32);
  CHECK(y[3] == -y[0]);
  CHECK(y[4] == y[0]);
  CHECK(y[5] == -y[0]);
  CHECK(y[32] == 2.f);
  CHECK(y[35] == -2.f);
}

TEST_CASE("quantize::sign survives sums of magnitudes beyond the range of float") {
  floats const x(100, -3e38f);
  auto const y = round_trip(gradpress::sign{.block = 64}, x);
  for (float const v : y) CHECK(v == doctest::Approx(-3e38f));
}

TEST_CASE("quantize::sign has a text form and refuses blocks that are no positive multiple of 32") {
  CHECK(describe(gradpress::sign{}) == "sign(block=1024)");
  CHECK_NOTHROW(gradpress::sign{.block = 32}.check());
  for (int const block : {0, -32, 33, 48})
    CHECK_THROWS_AS(gradpress::sign{.block = block}.check(), configuration_error);
}
