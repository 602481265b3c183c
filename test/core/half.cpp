// SPDX-License-Identifier: Apache-2.0
#include <gradpress/core/half.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

using namespace gradpress;

namespace {

constexpr auto infinity = std::numeric_limits<float>::infinity();

/// What to_float should give, from the definition of the format.
double value(std::uint32_t h, int exponent_bits, int mantissa_bits) {
  auto const mantissa = static_cast<double>(h & ((1u << mantissa_bits) - 1)) / (1 << mantissa_bits);
  auto const exponent = static_cast<int>(h >> mantissa_bits);
  auto const bias = (1 << (exponent_bits - 1)) - 1;
  return exponent == 0 ? std::ldexp(mantissa, 1 - bias) : std::ldexp(1 + mantissa, exponent - bias);
}

template <class T>
T of(std::uint32_t bits) {
  return {static_cast<std::uint16_t>(bits)};
}

/// Every pair of neighbours, and the three floats that decide between them: the middle, and one to each side.
template <class T>
void check_all(int exponent_bits, int mantissa_bits) {
  auto const last = ((1u << exponent_bits) - 1) << mantissa_bits;  // infinity
  bool exact = true, nearest = true, odd = true;
  for (std::uint32_t h = 0; h < last; ++h) {
    auto const low = value(h, exponent_bits, mantissa_bits), high = value(h + 1, exponent_bits, mantissa_bits);
    auto const f = to_float(of<T>(h));
    exact = exact && static_cast<double>(f) == low && narrow<T>(f).bits == h;
    odd = odd &&
          std::bit_cast<std::uint32_t>(to_float(of<T>(h | 0x8000u))) == (std::bit_cast<std::uint32_t>(f) | 0x80000000u);
    auto const middle = static_cast<float>((low + high) / 2);  // exact in fp32
    nearest = nearest && narrow<T>(middle).bits == (h % 2 == 0 ? h : h + 1);
    nearest = nearest && narrow<T>(std::nextafter(middle, 0.f)).bits == h;
    nearest = nearest && narrow<T>(std::nextafter(middle, infinity)).bits == h + 1;
    nearest = nearest && narrow<T>(-middle).bits == (0x8000u | (h % 2 == 0 ? h : h + 1));
  }
  CHECK(exact);
  CHECK(nearest);
  CHECK(odd);
  CHECK(narrow<T>(infinity).bits == last);
  CHECK(narrow<T>(-infinity).bits == (last | 0x8000u));
  CHECK(to_float(of<T>(last)) == infinity);
  CHECK(to_float(of<T>(last | 0x8000u)) == -infinity);
  CHECK(narrow<T>(std::numeric_limits<float>::denorm_min()).bits == 0);
  for (std::uint32_t nan : {0x7f800001u, 0x7fc00000u, 0xff80ffffu, 0x7fffffffu}) {
    auto const h = narrow<T>(std::bit_cast<float>(nan));
    CHECK((h.bits & last) == last);
    CHECK(((h.bits >> (mantissa_bits - 1)) & 1) == 1);  // quiet
    CHECK((h.bits >> 15) == (nan >> 31));
    CHECK(std::isnan(to_float(h)));
  }
}

}  // namespace

TEST_CASE("core/half: bf16, all values and all ties") {
  check_all<bfloat16>(8, 7);
  CHECK(to_bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(to_bfloat16(std::bit_cast<float>(0x7f7f7fffu)).bits == 0x7f7f);
}

TEST_CASE("core/half: fp16, all values and all ties") {
  check_all<float16>(5, 10);
  CHECK(to_float16(65504.f).bits == 0x7bff);
  CHECK(to_float16(65519.f).bits == 0x7bff);
  CHECK(to_float16(65520.f).bits == 0x7c00);
  CHECK(to_float16(1e9f).bits == 0x7c00);
  CHECK(to_float16(0x1p-24f).bits == 1);
  CHECK(to_float16(0x1p-25f).bits == 0);
}

TEST_CASE("core/half: sums are rounded once, and all of it works in constant expressions") {
  static_assert(to_bfloat16(1.f) == bfloat16{0x3f80});
  static_assert(to_float(float16{0x3c00}) == 1.f);
  static_assert(to_bfloat16(256.f) + to_bfloat16(1.f) == to_bfloat16(256.f));
  static_assert(to_float16(2048.f) + to_float16(3.f) == to_float16(2052.f));
  auto x = to_float16(0.5f);
  x += to_float16(0.25f);
  CHECK(to_float(x) == 0.75f);
  auto y = to_bfloat16(0.5f);
  y += to_bfloat16(-0.25f);
  CHECK(to_float(y) == 0.25f);
}
