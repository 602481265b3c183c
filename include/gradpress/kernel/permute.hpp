// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A keyed permutation of [0, n): random draws without replacement in O(1) each, without state, the same everywhere.

#include <gradpress/core/philox.hpp>
#include <gradpress/core/types.hpp>

namespace gradpress::kernel {

/// Four Feistel rounds over the smallest even number of bits that holds n, walked until the image lies below n
/// (fewer than four steps on average).
class permutation {
  std::uint32_t n_, half_, mask_;
  philox_block round_keys_;

 public:
  KOKKOS_INLINE_FUNCTION permutation(key k, index_t n) : n_(n), half_(1), round_keys_(philox(k.value, 0)) {
    while (half_ < 16 && (std::uint64_t{1} << 2 * half_) < n) ++half_;
    mask_ = (std::uint32_t{1} << half_) - 1;
  }
  /// The image of i, for i < n.
  [[nodiscard]] KOKKOS_INLINE_FUNCTION index_t operator()(index_t i) const {
    do {
      i = once(i);
    } while (i >= n_);
    return i;
  }

 private:
  KOKKOS_INLINE_FUNCTION index_t once(index_t i) const {
    std::uint32_t left = i >> half_, right = i & mask_;
    for (auto const k : round_keys_.word) {
      auto const next = left ^ (scramble(right ^ k) & mask_);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }
  /// A bijective finaliser of 32 bits; only its low bits are used.
  KOKKOS_INLINE_FUNCTION static std::uint32_t scramble(std::uint32_t v) {
    v = (v ^ v >> 16) * 0x7feb352du;
    v = (v ^ v >> 15) * 0x846ca68bu;
    return v ^ v >> 16;
  }
};

}  // namespace gradpress::kernel
