// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: one bit an element.

#include <gradpress/concepts/index_code.hpp>

#include <bit>
#include <cstring>

namespace gradpress {

/// Writes n bits, of which the kept ones are set.
///
/// - Bytes     padded(ceil(n / 8)), whatever k is: less than raw_index from a density of 1/32 on.
/// - Layout    position i is bit i mod 8 of byte i div 8; bits from n on are 0.
/// - Cost      one pass over the bits and k writes.
struct bitmap_index {
  using family = family::index_code;
  static constexpr std::string_view name = "bitmap_index";

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t n, std::size_t) const noexcept {
    return padded((n + 7) / 8);
  }
  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const noexcept {
    clear(out, index_bytes(n, k));
    for (std::size_t j = 0; j < k; ++j) out[at[j] / 8] |= std::byte{1} << at[j] % 8;
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    auto const size = index_bytes(n, k);
    std::size_t found = 0;
    for (std::size_t from = 0; from < size; from += 8) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, in + from, std::min<std::size_t>(8, size - from));
      if (bits == 0) continue;
      if (found + static_cast<std::size_t>(std::popcount(bits)) > k) return false;
      for (; bits != 0; bits &= bits - 1)
        at[found++] = static_cast<index_t>(8 * from + static_cast<std::size_t>(std::countr_zero(bits)));
    }
    return found == k && (k == 0 || at[k - 1] < n);
  }
};

static_assert(explain_index_code<bitmap_index>());

}  // namespace gradpress
