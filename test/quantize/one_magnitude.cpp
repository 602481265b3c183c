// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/one_magnitude.hpp>

#include "../concepts/quantizer_laws.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<one_magnitude>);
static_assert(!quantizer<one_magnitude&>);
static_assert(one_magnitude{}.code_bytes(0) == 0);
static_assert(one_magnitude{}.code_bytes(1) == 4 + 4);
static_assert(one_magnitude{}.code_bytes(32) == 4 + 4);
static_assert(one_magnitude{}.code_bytes(33) == 4 + 8);

TEST_CASE("quantize::one_magnitude obeys the laws of quantizers") {
  check_quantizer(one_magnitude{},
                  {.one_scale = true, .leading_floats = [](std::size_t m) { return std::size_t{m > 0 ? 1u : 0u}; }});
}

TEST_CASE("quantize::one_magnitude is exact where all values have one magnitude, on every path") {
  key const coin{31};
  for (float const magnitude : {1.f, 1.f / 3, 0.1f, 16777215.f, 3.4e38f, 1e-42f})
    for (std::size_t const m : {1u, 31u, 32u, 33u, 1000u, 100003u}) {
      floats x(m);
      for (std::size_t i = 0; i < m; ++i) x[i] = coin.bits(i) % 2 == 0 ? magnitude : -magnitude;
      for_each_isa([&] { CHECK(identical(round_trip(one_magnitude{}, x), x)); });
    }
}

TEST_CASE("quantize::one_magnitude gives other values their mean magnitude; zero is positive") {
  CHECK(identical(round_trip(one_magnitude{}, {1.f, -2.f, 0.f, -0.f, 7.f}), {2.f, -2.f, 2.f, -2.f, 2.f}));
  auto const x = heavy_tailed(5000);
  double sum = 0;
  for (auto const v : x) sum += std::abs(static_cast<double>(v));
  auto const y = round_trip(one_magnitude{}, x);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i] == std::copysign(static_cast<float>(sum / 5000), x[i]));
}

TEST_CASE("quantize::one_magnitude has a text form") { CHECK(describe(one_magnitude{}) == "one_magnitude"); }
