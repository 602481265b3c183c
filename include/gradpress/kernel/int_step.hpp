// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// From a value to its integer code: the arithmetic that every path and every back end shares, bit for bit.

#include <gradpress/core/half.hpp>

namespace gradpress::kernel {

/// Largest code with this many bits: 127, 7 or 1.
[[nodiscard]] KOKKOS_INLINE_FUNCTION constexpr int int_levels(int bits) noexcept { return (1 << (bits - 1)) - 1; }

/// How the elements of one block become codes: round(clamp(x * before * inverse)), see `int_code`.
struct int_step {
  float scale;    ///< of one level
  float before;   ///< a power of two that keeps `inverse` in range
  float inverse;  ///< levels per unit of x * before; 256 times that if rounding is stochastic
  float limit;    ///< of the clamp
  bool plain;     ///< before is 1 and the clamp does nothing
};

/// The step of a block whose largest |x| has these bits.
///
/// The scale is max|x| / L, rounded up to so few bits (17, 21 or 24 for 8, 4 or 2 bits) that code * scale is exact:
/// then x - code * scale is rounded once on every machine, whether or not a compiler fuses the two. Where L * scale
/// would overflow it is rounded down, and the clamp takes the rest.
[[nodiscard]] KOKKOS_INLINE_FUNCTION constexpr int_step make_int_step(std::uint32_t top_bits, int bits,
                                                                      bool stochastic) noexcept {
  auto const levels = static_cast<float>(int_levels(bits)), unit = stochastic ? 256.f : 1.f;
  auto const top = gradpress::detail::bits_float(top_bits);
  if (top_bits == 0) return {0.f, 1.f, 0.f, levels * unit, true};
  std::uint32_t const low = bits == 8 ? 0x7fu : bits == 4 ? 0x7u : 0u;
  auto const ratio = gradpress::detail::float_bits(top / levels);
  auto const up = (ratio + low) & ~low;
  auto scale = gradpress::detail::bits_float(up > low ? up : low + 1);
  if (!(scale * levels <= 0x1.fffffep127f)) scale = gradpress::detail::bits_float(ratio & ~low);
  float const before = top < 0x1p-60f ? 0x1p100f : top < 0x1p100f ? 1.f : 0x1p-30f;
  return {scale, before, unit / (scale * before), levels * unit, before == 1.f};
}

/// The code of x. Stochastic rounding adds a random byte to 256 x / scale, rounded to an integer, and drops the last 8
/// bits: the mean is x / scale up to 2^-9. Otherwise to nearest, ties to even. Nothing here can be fused differently.
[[nodiscard]] KOKKOS_INLINE_FUNCTION constexpr int int_code(float x, int_step const& s, bool stochastic,
                                                            std::uint32_t random_byte) noexcept {
  auto t = x * s.before * s.inverse;
  t = t > s.limit ? s.limit : t;
  t = t < -s.limit ? -s.limit : t;
  // In t + magic the unit is 1: the addition rounds.
  constexpr float magic = 0x1.8p23f;
  auto const v =
      static_cast<std::int32_t>(gradpress::detail::float_bits(t + magic) - gradpress::detail::float_bits(magic));
  return stochastic ? (v + static_cast<std::int32_t>(random_byte)) >> 8 : v;
}

}  // namespace gradpress::kernel
