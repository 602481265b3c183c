// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: Elias and Fano's, within about half a bit a position of the least that any code can need.

#include <gradpress/concepts/index_code.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace gradpress {

/// Writes the l lower bits of every position as they are, and how far its upper part is from the one before in unary.
///
/// - Bytes     padded(ceil(k l / 8)) + padded(ceil((k + ((n - 1) >> l)) / 8)), l = floor(log2(n / k)): known from n and k,
///             so that messages keep a fixed size. 2 + l bits a position at most; the entropy of k of n is
///             log2(n / k) + 1.44 when k is small against n.
/// - Layout    a stream of the lower bits, position j at bits [j l, (j + 1) l); then a stream in which position j sets
///             bit (at[j] >> l) + j; both little-endian by byte and filled with zeros to a multiple of 4 bytes.
/// - Cost      a few operations a position either way, no table.
/// - Edges     k = 0 writes nothing; k = n writes ones.
/// - Source    Elias, Efficient storage and retrieval by content and address of static files, J. ACM 21, 1974; Fano,
///             1971. Without the index for random access.
struct elias_fano {
  using family = family::index_code;
  static constexpr std::string_view name = "elias_fano";

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t n, std::size_t k) const noexcept {
    return k == 0 ? 0 : lower_bytes(n, k) + upper_bytes(n, k);
  }

  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const noexcept {
    if (k == 0) return;
    auto const l = lower_bits(n, k);
    clear(out, index_bytes(n, k));
    std::uint64_t pending = 0;
    int filled = 0;
    auto* to = out;
    for (std::size_t j = 0; l > 0 && j < k; ++j) {
      pending |= std::uint64_t{at[j] & ((1u << l) - 1)} << filled;
      filled += l;
      if (filled >= 32) {
        auto const word = static_cast<std::uint32_t>(pending);
        std::memcpy(to, &word, 4);
        to += 4, pending >>= 32, filled -= 32;
      }
    }
    if (filled > 0) {
      auto const word = static_cast<std::uint32_t>(pending);
      std::memcpy(to, &word, 4);
    }
    auto* const upper = out + lower_bytes(n, k);
    for (std::size_t j = 0; j < k; ++j) {
      auto const bit = (at[j] >> l) + j;
      upper[bit / 8] |= std::byte{1} << bit % 8;
    }
  }

  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    if (k == 0) return true;
    auto const l = lower_bits(n, k);
    auto const lower = lower_bytes(n, k), upper = upper_bytes(n, k);
    auto const mask = (std::uint64_t{1} << l) - 1;
    std::size_t j = 0, next = 0;  // the least that the next position may be
    bool ascend = true;
    for (std::size_t from = 0; from < upper; from += 8) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, in + lower + from, std::min<std::size_t>(8, upper - from));
      if (j + static_cast<std::size_t>(std::popcount(bits)) > k) return false;
      for (; bits != 0; bits &= bits - 1, ++j) {
        auto const high = 8 * from + static_cast<std::size_t>(std::countr_zero(bits)) - j;
        auto const first = j * static_cast<std::size_t>(l), byte = first / 8;
        std::uint64_t window = 0;  // the lower bits lie in these 8 bytes: l <= 31
        if (byte + 8 <= lower + upper)
          std::memcpy(&window, in + byte, 8);
        else
          std::memcpy(&window, in + byte, lower + upper - byte);
        auto const position = (high << l) | (window >> first % 8 & mask);
        ascend &= position >= next;
        next = position + 1;
        at[j] = static_cast<index_t>(position);
      }
    }
    return j == k && ascend && next <= n && zeros_after(in, k * static_cast<std::size_t>(l), lower);
  }

 private:
  static constexpr int lower_bits(std::size_t n, std::size_t k) noexcept {
    return static_cast<int>(std::bit_width(n / k | 1)) - 1;
  }
  static constexpr std::size_t lower_bytes(std::size_t n, std::size_t k) noexcept {
    return padded((k * static_cast<std::size_t>(lower_bits(n, k)) + 7) / 8);
  }
  static constexpr std::size_t upper_bytes(std::size_t n, std::size_t k) noexcept {
    return padded((k + ((n - 1) >> lower_bits(n, k)) + 7) / 8);
  }
  /// Are the bits from `used` to the end of `size` bytes zeros? One message has one code.
  static bool zeros_after(std::byte const* in, std::size_t used, std::size_t size) noexcept {
    for (auto b = used; b < 8 * size; ++b)
      if ((in[b / 8] >> b % 8 & std::byte{1}) != std::byte{0}) return false;
    return true;
  }
};

static_assert(explain_index_code<elias_fano>());

}  // namespace gradpress
