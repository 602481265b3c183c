// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/stochastic_int.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<stochastic_int>);
static_assert(!quantizer<rounding>);
static_assert(std::same_as<stochastic_int::adds_as, void>);
static_assert(stochastic_int{.bits = 8, .block = 64}.code_bytes(65) == 8 + 65);
static_assert(stochastic_int{.bits = 4, .block = 64}.code_bytes(65) == 8 + 33);
static_assert(stochastic_int{.bits = 2, .block = 64}.code_bytes(65) == 8 + 17);
static_assert(stochastic_int{}.code_bytes(0) == 0);

namespace {
float scale_of(stochastic_int const& q, coded const& c, std::size_t i) {
  float scale = 0;
  std::memcpy(&scale, c.codes.get() + 4 * (i / q.grain()), 4);
  return scale;
}
}  // namespace

TEST_CASE("quantize::stochastic_int obeys the laws of quantizers") {
  for (int const bits : {8, 4, 2})
    for (auto const mode : {rounding::stochastic, rounding::nearest})
      check_quantizer(
          stochastic_int{.bits = bits, .block = 64, .mode = mode},
          {.random = mode == rounding::stochastic, .leading_floats = [](std::size_t m) { return (m + 63) / 64; }});
  check_quantizer(stochastic_int{},
                  {.random = true, .leading_floats = [](std::size_t m) { return (m + 1023) / 1024; }});
}

TEST_CASE("quantize::stochastic_int errs by one scale at most, and by half of it when rounding to nearest") {
  lone_rank r;
  for (int const bits : {8, 4, 2})
    for (auto const mode : {rounding::stochastic, rounding::nearest}) {
      stochastic_int const q{.bits = bits, .block = 64, .mode = mode};
      auto const x = heavy_tailed(4097);
      auto const codes = encode(q, x, r.ctx);
      auto const y = decode(q, codes, x.size(), r.ctx);
      double worst = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])) /
                                    static_cast<double>(scale_of(q, codes, i)));
      CAPTURE(bits);
      CHECK(worst <= (mode == rounding::nearest ? 0.5 : 1.0) * (1 + 1e-5));
      CHECK(worst > (mode == rounding::nearest ? 0.3 : 0.6));  // the bound is of the right size
      // The scale is max / L but for the last bits, so that code * scale is exact.
      float top = 0;
      for (std::size_t i = 0; i < 64; ++i) top = std::max(top, std::abs(x[i]));
      auto const levels = static_cast<float>((1 << (bits - 1)) - 1);
      CHECK(scale_of(q, codes, 0) >= top / levels);
      CHECK(scale_of(q, codes, 0) <= top / levels * (1 + 0x1p-15f));
    }
}

TEST_CASE("quantize::stochastic_int is right on average when stochastic, and not when rounding to nearest") {
  constexpr std::size_t n = 64;
  constexpr int draws = 6000;
  auto const x = heavy_tailed(n);
  for (int const bits : {8, 4, 2}) {
    stochastic_int const q{.bits = bits, .block = 64};
    std::vector<double> sum(n);
    lone_rank r;
    float scale = 0;
    for (int s = 0; s < draws; ++s) {
      r.ctx.number = static_cast<std::uint64_t>(s);
      auto const codes = encode(q, x, r.ctx);
      scale = scale_of(q, codes, 0);
      auto const y = decode(q, codes, n, r.ctx);
      for (std::size_t i = 0; i < n; ++i) sum[i] += static_cast<double>(y[i]);
    }
    // Five deviations of a mean whose terms lie within one scale of each other, and the documented 2^-9 of a level.
    double const bound = static_cast<double>(scale) * (5 * 0.5 / std::sqrt(draws) + 0x1p-9);
    for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(sum[i] / draws - static_cast<double>(x[i])) < bound);
  }
  floats biased(64, 0.3f);
  biased[0] = 1.f;
  auto const y = round_trip(stochastic_int{.bits = 2, .block = 64, .mode = rounding::nearest}, biased);
  CHECK(y[1] == 0.f);
}

TEST_CASE("quantize::stochastic_int draws its own numbers for each rank, step, phase and part") {
  lone_rank r;
  auto const x = heavy_tailed(1000);
  stochastic_int const q{.bits = 4, .block = 64};
  auto const codes = encode(q, x, r.ctx);
  auto const differs = [&](auto change) {
    lone_rank other;
    change(other.ctx);
    return !encode(q, x, other.ctx).same(codes);
  };
  CHECK(differs([](auto& c) { c.rank = 1; }));
  CHECK(differs([](auto& c) { c.number = 1; }));
  CHECK(differs([](auto& c) { c.phase = 1; }));
  CHECK(differs([](auto& c) { c.part = 1; }));
  CHECK_FALSE(differs([](auto& c) { c.world = 9; }));
}

TEST_CASE("quantize::stochastic_int keeps the largest magnitude of a block, and the ends of float's range") {
  for (float const top : {1e-44f, 1e-38f, 1.f, 1e30f, 3.4e38f})
    for (int const bits : {8, 4, 2}) {
      floats x(64, top / 3);
      x[9] = -top;
      auto const y = round_trip(stochastic_int{.bits = bits, .block = 64, .mode = rounding::nearest}, x);
      CAPTURE(top);
      CAPTURE(bits);
      for (std::size_t i = 0; i < 64; ++i) CHECK(std::isfinite(y[i]));
      if (top > 1e-37f) CHECK(y[9] == doctest::Approx(-top).epsilon(1e-4));
    }
}

TEST_CASE("quantize::stochastic_int has a text form and refuses impossible knobs") {
  CHECK(describe(stochastic_int{.bits = 4, .mode = rounding::nearest}) ==
        "stochastic_int(bits=4,block=1024,mode=nearest)");
  CHECK_NOTHROW(stochastic_int{.bits = 2, .block = 64}.check());
  for (int const bits : {0, 1, 3, 16}) CHECK_THROWS_AS(stochastic_int{.bits = bits}.check(), configuration_error);
  for (int const block : {0, -64, 32, 100})
    CHECK_THROWS_AS(stochastic_int{.block = block}.check(), configuration_error);
}
