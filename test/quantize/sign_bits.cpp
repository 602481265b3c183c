// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/sign_bits.hpp>

#include "../concepts/quantizer_laws.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<sign_bits> && casts_votes<sign_bits>);
static_assert(!quantizer<sign_bits&>);
static_assert(sign_bits{}.code_bytes(0) == 0);
static_assert(sign_bits{}.code_bytes(1) == 4 + 4);
static_assert(sign_bits{}.code_bytes(32) == 4 + 4);
static_assert(sign_bits{}.code_bytes(33) == 4 + 8);

TEST_CASE("quantize::sign_bits obeys the laws of quantizers") {
  check_quantizer(sign_bits{}, {.leading_floats = [](std::size_t m) { return std::size_t{m > 0 ? 1u : 0u}; }});
}

TEST_CASE("quantize::sign_bits: +1 and -1, whatever the magnitude; zero is positive, zeros alone are nothing") {
  CHECK(identical(round_trip(sign_bits{}, {1.f, -2.f, 0.f, -0.f, 7.f}), {1.f, -1.f, 1.f, -1.f, 1.f}));
  CHECK(identical(round_trip(sign_bits{}, {1e-45f, -1e-45f}), {1.f, -1.f}));
  CHECK(identical(round_trip(sign_bits{}, {3e38f, -3e38f, 3e38f}), {1.f, -1.f, 1.f}));
  CHECK(identical(round_trip(sign_bits{}, floats(40, -0.f)), floats(40, 0.f)));
  floats lone(100000, 0.f);
  lone[99999] = -1e-45f;  // the mean of its block is 0 in float
  auto expected = floats(100000, 1.f);
  expected[99999] = -1.f;
  for_each_isa([&] { CHECK(identical(round_trip(sign_bits{}, lone), expected)); });
}

TEST_CASE("quantize::sign_bits: nobody has more than one vote") {
  lone_rank r;
  auto const codes = encode(sign_bits{}, heavy_tailed(40), r.ctx);
  for (float const voice : {2.f, 0.5f, -1.f, 1e9f}) {
    auto many = codes;
    std::memcpy(many.codes.get(), &voice, 4);
    CHECK_FALSE(sign_bits{}.finite(r.ctx, many.view(), 40));
  }
}

TEST_CASE("quantize::sign_bits has a text form") { CHECK(describe(sign_bits{}) == "sign_bits"); }
