// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Counter-based random numbers: (key, counter) -> bits, no state, the same on every back end.

#include <gradpress/core/kokkos_compat.hpp>

#include <cstdint>

namespace gradpress {

/// Four 32-bit words.
struct philox_block {
  std::uint32_t word[4];
};

/// Philox4x32-10.
///
/// - Source  J. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011, section 5.3 and table 2.
/// - Cost    10 rounds of two 32x32 -> 64 multiplications a block.
/// The counter is (c, 0, 0, 0) as a 128-bit little-endian number; c is a block number, not an element number.
KOKKOS_INLINE_FUNCTION philox_block philox(std::uint64_t key, std::uint64_t counter) {
  auto c0 = static_cast<std::uint32_t>(counter), c1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t c2 = 0, c3 = 0;
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const p0 = std::uint64_t{0xD2511F53u} * c0, p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// A stream of random numbers that ranks either share or own, derived by name from (seed, step, tensor, purpose[,
/// rank]).
struct key {
  std::uint64_t value = 0;

  /// A key for one purpose below this one.
  [[nodiscard]] KOKKOS_INLINE_FUNCTION key with(std::uint64_t v) const {
    auto const b = philox(value, v);
    return {b.word[0] | std::uint64_t{b.word[1]} << 32};
  }
  /// 64 bits for counter i.
  [[nodiscard]] KOKKOS_INLINE_FUNCTION std::uint64_t bits(std::uint64_t i) const {
    auto const b = philox(value, i);
    return b.word[0] | std::uint64_t{b.word[1]} << 32;
  }
  /// In [0, 1), a multiple of 2^-24, for counter i.
  [[nodiscard]] KOKKOS_INLINE_FUNCTION float uniform(std::uint64_t i) const {
    return static_cast<float>(philox(value, i / 4).word[i % 4] >> 8) * 0x1p-24f;
  }
};

}  // namespace gradpress
