// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Positions as one bit an element, and back: where most words are 0, little more than a read of the bits.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/types.hpp>
#include <gradpress/kernel/isa.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace gradpress::kernel {

namespace detail {

/// Bytes that are looked at together: a bit a word of 8 bytes.
inline constexpr std::size_t bitmap_piece = 512;

/// Which of the 64 words at `in` are not 0.
inline std::uint64_t used_words(std::byte const* in) noexcept {
  std::uint64_t used = 0;
  for (unsigned i = 0; i < 64; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, in + 8 * i, 8);
    used |= std::uint64_t{word != 0} << i;
  }
  return used;
}
#if GRADPRESS_X86
GRADPRESS_AVX2 inline std::uint64_t used_words_avx2(std::byte const* in) noexcept {
  auto const zero = _mm256_setzero_si256();
  std::uint64_t empty = 0;
  GRADPRESS_UNROLL
  for (unsigned i = 0; i < 16; ++i) {
    auto const four = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(in + 32 * i));
    auto const none = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(four, zero)));
    empty |= static_cast<std::uint64_t>(none) << 4 * i;
  }
  return ~empty;
}
#endif

/// Lists the bits of the words at `in` that are used; the first stands for position `first`. Returns how many are listed
/// then, or k + 1 if there is no room for all.
inline std::size_t list_words(std::uint64_t used, std::byte const* in, index_t first, std::size_t found, std::size_t k,
                              index_t* at) noexcept {
  for (; used != 0; used &= used - 1) {
    auto const number = static_cast<index_t>(std::countr_zero(used));
    std::uint64_t bits = 0;
    std::memcpy(&bits, in + 8 * number, 8);
    auto const base = first + 64 * number;
    if (k - found >= 2) {  // two at once, right or not: whether there is a second is a branch that nobody can foresee
      at[found] = base + static_cast<index_t>(std::countr_zero(bits));
      bits &= bits - 1;
      at[found + 1] = base + static_cast<index_t>(std::countr_zero(bits));
      found += 1 + static_cast<std::size_t>(bits != 0);
      bits &= bits - 1;
    }
    for (; bits != 0; bits &= bits - 1) {
      if (found == k) return k + 1;
      at[found++] = base + static_cast<index_t>(std::countr_zero(bits));
    }
  }
  return found;
}

}  // namespace detail

/// Sets bit at[j] of `size` bytes, j < k, and clears the others; `at` ascends and lies inside.
///
/// - Layout  position i is bit i mod 8 of byte i div 8.
/// - Cost    one write of `size` bytes, cleared a piece at a time, so that bits are set where the cache has them.
inline void write_bits(index_t const* at, std::size_t k, std::size_t size, std::byte* out) noexcept {
  constexpr std::size_t piece = 1024;
  std::size_t j = 0;
  for (std::size_t from = 0; from < size; from += piece) {
    auto const end = std::min(size, from + piece);
    std::memset(out + from, 0, end - from);
    for (; j < k && at[j] / 8 < end; ++j) out[at[j] / 8] |= std::byte{1} << at[j] % 8;
  }
}

/// The positions of the bits that are set in `size` bytes, ascending. Returns how many, or k + 1 if more than k are; writes
/// k of them at most.
///
/// - Cost  one read of `size` bytes, and one loop of a few operations for every word of 8 bytes that is not 0.
std::size_t read_bits(std::byte const* in, std::size_t size, std::size_t k, index_t* at) noexcept;

#if GRADPRESS_BODIES
GRADPRESS_INLINE std::size_t read_bits(std::byte const* in, std::size_t size, std::size_t k, index_t* at) noexcept {
  using namespace detail;
  auto const how = current_isa();
  auto const used_of = [how](std::byte const* piece) {
#if GRADPRESS_X86
    if (how != isa::portable) return used_words_avx2(piece);
#endif
    static_cast<void>(how);
    return used_words(piece);
  };
  std::size_t found = 0, from = 0;
  for (; from + bitmap_piece <= size && found <= k; from += bitmap_piece)
    found = list_words(used_of(in + from), in + from, static_cast<index_t>(8 * from), found, k, at);
  if (from < size && found <= k) {
    std::byte rest[bitmap_piece] = {};
    std::memcpy(rest, in + from, size - from);
    found = list_words(used_words(rest), rest, static_cast<index_t>(8 * from), found, k, at);
  }
  return found;
}
#endif

}  // namespace gradpress::kernel
