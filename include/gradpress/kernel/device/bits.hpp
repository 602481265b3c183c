// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Small words of the device kernels: floats as integers, one code out of a word. For every execution space.

#include <gradpress/core/half.hpp>

#include <cstdint>

namespace gradpress::kernel::device {

/// Bits of |v|: as integers they are ordered as the magnitudes are.
[[nodiscard]] KOKKOS_INLINE_FUNCTION constexpr std::uint32_t magnitude_bits(float v) noexcept {
  return gradpress::detail::float_bits(v) & 0x7fffffffu;
}
/// Magnitudes from here on are infinite or not a number.
inline constexpr std::uint32_t not_finite_from = 0x7f800000u;

/// The code of `bits` bits that starts at bit `from` of a word, sign extended.
[[nodiscard]] KOKKOS_INLINE_FUNCTION constexpr int unpack_code(std::uint32_t word, int from, int bits) noexcept {
  return static_cast<std::int32_t>(word << (32 - bits - from)) >> (32 - bits);
}

}  // namespace gradpress::kernel::device
