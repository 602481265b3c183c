// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: 16 bits a position, inside chunks of 65536 elements.

#include <gradpress/concepts/index_code.hpp>

#include <cstring>

namespace gradpress {

/// Writes how many positions lie in each chunk of 65536 elements, then the lower 16 bits of every position.
///
/// - Bytes     4 ceil(n / 65536) + padded(2 k).
/// - Layout    u32 counts, then u16 positions, then zeros up to a multiple of 4.
/// - Cost      a pass over k positions either way; the plainest code that halves raw_index.
struct local_index {
  static constexpr std::size_t chunk = 65536;

  using family = family::index_code;
  static constexpr std::string_view name = "local_index";

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t n, std::size_t k) const noexcept {
    return 4 * chunks(n) + padded(2 * k);
  }
  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const noexcept {
    auto* const positions = out + 4 * chunks(n);
    std::size_t j = 0;
    for (std::size_t c = 0; c < chunks(n); ++c) {
      auto const first = j;
      for (; j < k && at[j] / chunk == c; ++j) {
        auto const low = static_cast<std::uint16_t>(at[j] % chunk);
        std::memcpy(positions + 2 * j, &low, 2);
      }
      auto const count = static_cast<std::uint32_t>(j - first);
      std::memcpy(out + 4 * c, &count, 4);
    }
    clear(positions + 2 * k, padded(2 * k) - 2 * k);
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    auto const* const positions = in + 4 * chunks(n);
    std::size_t j = 0;
    for (std::size_t c = 0; c < chunks(n); ++c) {
      std::uint32_t count = 0;
      std::memcpy(&count, in + 4 * c, 4);
      if (count > k - j) return false;
      std::uint32_t least = 0;
      bool ascend = true;
      for (auto const end = j + count; j < end; ++j) {
        std::uint16_t low = 0;
        std::memcpy(&low, positions + 2 * j, 2);
        ascend &= low >= least;
        least = std::uint32_t{low} + 1;
        at[j] = static_cast<index_t>(c * chunk + low);
      }
      if (!ascend) return false;
    }
    if (k % 2 == 1 && (positions[2 * k] | positions[2 * k + 1]) != std::byte{0}) return false;
    return j == k && (k == 0 || at[k - 1] < n);
  }

 private:
  static constexpr std::size_t chunks(std::size_t n) noexcept { return (n + chunk - 1) / chunk; }
};

static_assert(explain_index_code<local_index>());

}  // namespace gradpress
