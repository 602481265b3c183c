// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The two 16-bit float formats, as plain storage with exact conversions; arithmetic goes through float.

#include <gradpress/core/kokkos_compat.hpp>

#include <cstdint>
#include <type_traits>

namespace gradpress {

/// 8 exponent bits, 7 mantissa bits: the upper half of a float.
struct bfloat16 {
  std::uint16_t bits;
  friend constexpr bool operator==(bfloat16, bfloat16) = default;
};
/// IEEE 754 binary16: 5 exponent bits, 10 mantissa bits; largest finite value 65504, smallest 2^-24.
struct float16 {
  std::uint16_t bits;
  friend constexpr bool operator==(float16, float16) = default;
};

namespace detail {
// __builtin_bit_cast and not std::bit_cast, because nvcc must also accept it in device code.
KOKKOS_INLINE_FUNCTION constexpr std::uint32_t float_bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
KOKKOS_INLINE_FUNCTION constexpr float bits_float(std::uint32_t u) { return __builtin_bit_cast(float, u); }

/// u / 2^shift, to nearest, ties to even; 1 <= shift <= 31 and no overflow.
KOKKOS_INLINE_FUNCTION constexpr std::uint32_t shift_to_even(std::uint32_t u, std::uint32_t shift) {
  return (u + (1u << (shift - 1)) - 1u + ((u >> shift) & 1u)) >> shift;
}
}  // namespace detail

/// To nearest, ties to even; beyond the largest value to infinity; NaN to a quiet NaN of the same sign and payload
/// head.
KOKKOS_INLINE_FUNCTION constexpr bfloat16 to_bfloat16(float x) {
  auto const u = detail::float_bits(x), nearest = detail::shift_to_even(u, 16), quiet = u >> 16 | 0x40u;
  return {static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : nearest)};
}
/// Exact.
KOKKOS_INLINE_FUNCTION constexpr float to_float(bfloat16 h) {
  return detail::bits_float(static_cast<std::uint32_t>(h.bits) << 16);
}

/// To nearest, ties to even, denormals included; from 65520 on to infinity; NaN to a quiet NaN.
KOKKOS_INLINE_FUNCTION constexpr float16 to_float16(float x) {
  // Choices between numbers and no branches: sizes mix at random in a gradient.
  auto const u = detail::float_bits(x), m = u & 0x7fffffffu;
  // A carry out of the mantissa moves the exponent, up to infinity.
  auto const normal = detail::shift_to_even(m - 0x38000000u, 13);
  // Next to 0.5 the unit of a float is 2^-24, that of the denormals: the addition rounds.
  auto const denormal = detail::float_bits(detail::bits_float(m < 0x38800000u ? m : 0u) + 0.5f) - 0x3f000000u;
  auto h = m < 0x38800000u ? denormal : normal;
  h = m >= 0x47800000u ? 0x7c00u : h;
  h = m > 0x7f800000u ? 0x7e00u | (m >> 13 & 0x3ffu) : h;
  return {static_cast<std::uint16_t>((u >> 16 & 0x8000u) | h)};
}
/// Exact; a signalling NaN comes out quiet.
KOKKOS_INLINE_FUNCTION constexpr float to_float(float16 h) {
  auto const sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16,
             m = static_cast<std::uint32_t>(h.bits & 0x7fffu);
  auto const normal = (m << 13) + 0x38000000u,
             denormal = detail::float_bits(detail::bits_float(0x3f000000u + m) - 0.5f);
  auto u = m < 0x400u ? denormal : normal;
  u = m >= 0x7c00u ? 0x7f800000u | m << 13 : u;
  u = m > 0x7c00u ? u | 0x400000u : u;
  return detail::bits_float(sign | u);
}

/// The same conversions by name of the target.
template <class T>
KOKKOS_INLINE_FUNCTION constexpr T narrow(float x) {
  static_assert(std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>,
                "gradpress: narrow floats are bfloat16 and float16.");
  if constexpr (std::is_same_v<T, bfloat16>)
    return to_bfloat16(x);
  else
    return to_float16(x);
}

/// Sums are rounded once: the float sum of two narrow numbers, narrowed.
KOKKOS_INLINE_FUNCTION constexpr bfloat16 operator+(bfloat16 a, bfloat16 b) {
  return to_bfloat16(to_float(a) + to_float(b));
}
KOKKOS_INLINE_FUNCTION constexpr float16 operator+(float16 a, float16 b) {
  return to_float16(to_float(a) + to_float(b));
}
KOKKOS_INLINE_FUNCTION constexpr bfloat16& operator+=(bfloat16& a, bfloat16 b) { return a = a + b; }
KOKKOS_INLINE_FUNCTION constexpr float16& operator+=(float16& a, float16 b) { return a = a + b; }

}  // namespace gradpress
