// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: one bit an element.

#include <gradpress/concepts/index_code.hpp>
#include <gradpress/kernel/bitmap.hpp>

namespace gradpress {

/// Writes n bits, of which the kept ones are set.
///
/// - Bytes     padded(ceil(n / 8)), whatever k is: less than raw_index from a density of 1/32 on.
/// - Layout    position i is bit i mod 8 of byte i div 8; bits from n on are 0.
/// - Cost      one pass over the n / 8 bytes, which at low densities takes longer than the k positions do.
struct bitmap_index {
  using family = family::index_code;
  static constexpr std::string_view name = "bitmap_index";

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t n, std::size_t) const noexcept {
    return padded((n + 7) / 8);
  }
  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const noexcept {
    kernel::write_bits(at, k, index_bytes(n, k), out);
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    return kernel::read_bits(in, index_bytes(n, k), k, at) == k && (k == 0 || at[k - 1] < n);
  }
};

static_assert(explain_index_code<bitmap_index>());

}  // namespace gradpress
