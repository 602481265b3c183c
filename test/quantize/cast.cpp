// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/cast.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<bf16> && quantizer<fp16>);
static_assert(!quantizer<bfloat16> && !quantizer<float16>);
static_assert(std::same_as<bf16::adds_as, bfloat16> && std::same_as<fp16::adds_as, float16>);
static_assert(bf16{}.code_bytes(7) == 14);

TEST_CASE_TEMPLATE("quantize::cast obeys the laws of quantizers", T, bf16, fp16) { check_quantizer(T{}, {}); }

namespace {
/// The value that float x becomes with `digits` binary digits and least exponent `lowest`, by the definition of
/// rounding to nearest even, in double.
double nearest(float x, int digits, int lowest) {
  int exponent = 0;
  auto const wide = static_cast<double>(x);
  std::frexp(wide, &exponent);
  auto const unit = std::ldexp(1.0, std::max(exponent - digits, lowest));
  return std::nearbyint(wide / unit) * unit;  // the default mode is to nearest even
}
template <class Q>
std::uint16_t code_of(Q const& q, float x) {
  lone_rank r;
  std::uint16_t code = 0;
  std::memcpy(&code, encode(q, {x}, r.ctx).codes.get(), 2);
  return code;
}
}  // namespace

TEST_CASE("quantize::cast rounds to nearest even, over the whole range") {
  floats x;
  key const k{5};
  for (std::size_t i = 0; i < 20000; ++i) {
    auto const f = std::bit_cast<float>(static_cast<std::uint32_t>(k.bits(i)));
    if (std::isfinite(f)) x.push_back(f);
  }
  for (std::uint32_t h = 0; h < 0x7f80u; h += 7) x.push_back(std::bit_cast<float>(h << 16 | 0x8000u));  // ties
  x.erase(std::remove_if(x.begin(), x.end(), [](float f) { return std::abs(f) > 3.3e38f; }), x.end());
  auto const wide = round_trip(bf16{}, x);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) wrong += static_cast<double>(wide[i]) != nearest(x[i], 8, -133);
  CHECK(wrong == 0);

  floats y;
  for (std::size_t i = 0; i < 20000; ++i) y.push_back(std::ldexp(k.uniform(i) - 0.5f, static_cast<int>(i % 45) - 28));
  for (int e = -26; e < 15; ++e)
    y.push_back(std::ldexp(1 + 0x1p-11f, e)), y.push_back(std::ldexp(-1 - 3 * 0x1p-11f, e));
  auto const half = round_trip(fp16{}, y);
  wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) wrong += static_cast<double>(half[i]) != nearest(y[i], 11, -24);
  CHECK(wrong == 0);
}

TEST_CASE("quantize::cast writes the bits of the formats") {
  CHECK(code_of(bf16{}, 1.f) == 0x3f80);
  CHECK(code_of(bf16{}, -2.f) == 0xc000);
  CHECK(code_of(bf16{}, 1.f + 0x1p-8f) == 0x3f80);  // a tie goes to the even neighbour
  CHECK(code_of(bf16{}, 1.f + 3 * 0x1p-8f) == 0x3f82);
  CHECK(code_of(fp16{}, 1.f) == 0x3c00);
  CHECK(code_of(fp16{}, -65504.f) == 0xfbff);
  CHECK(code_of(fp16{}, 0x1p-24f) == 0x0001);
  CHECK(code_of(fp16{}, 0x1p-25f) == 0x0000);
  CHECK(code_of(fp16{}, -0.f) == 0x8000);
}

TEST_CASE("quantize::cast refuses what its format cannot hold") {
  lone_rank r;
  CHECK(encode(fp16{}, {-65504.f}, r.ctx).finite);
  CHECK_FALSE(encode(fp16{}, {std::nextafter(65504.f, 1e9f)}, r.ctx).finite);  // though it would round to 65504
  CHECK_FALSE(encode(fp16{}, {1.f, -1e6f, 1.f}, r.ctx).finite);
  CHECK(encode(bf16{}, {3.38e38f}, r.ctx).finite);
  CHECK_FALSE(encode(bf16{}, {3.4e38f}, r.ctx).finite);
}

TEST_CASE_TEMPLATE("quantize::cast sees codes that are not finite, at every place", T, bfloat16, float16) {
  lone_rank r;
  for (std::size_t n : {1u, 33u})
    for (std::size_t at = 0; at < n; ++at)
      for (float const bad : not_finite) {
        auto codes = encode(cast<T>{}, heavy_tailed(n), r.ctx);
        auto const code = narrow<T>(bad);
        std::memcpy(codes.codes.get() + 2 * at, &code, 2);
        CHECK_FALSE(cast<T>{}.finite(r.ctx, codes.view(), n));
      }
}

TEST_CASE("quantize::cast has text forms") {
  CHECK(describe(bf16{}) == "bf16");
  CHECK(describe(fp16{}) == "fp16");
}
