// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sums of sparse vectors that stay sparse, and the largest entries of one.

#include <gradpress/kernel/kth.hpp>
#include <gradpress/kernel/sparse.hpp>

namespace gradpress::kernel {

namespace detail {

/// Writes the tile's entries, in order, and leaves it as it was before: all zeros, nothing pending.
inline std::size_t drain(scatter_tile& tile, std::size_t begin, index_t* index, float* value) noexcept {
  std::size_t at = 0;
  for (std::size_t w = 0; w < scatter_tile::size / 64; ++w) {
    for (auto m = tile.pending[w]; m != 0; m &= m - 1) {
      auto const i = w * 64 + static_cast<std::size_t>(std::countr_zero(m));
      index[at] = static_cast<index_t>(begin + i);
      value[at++] = tile.value[i];
      tile.value[i] = 0;
    }
    tile.pending[w] = 0;
  }
  return at;
}

}  // namespace detail

/// index, value = the sum of the streams: every index that any of them holds, once. Returns the number of entries.
///
/// - Shape   next: `count` words of workspace. index, value: room for all entries of all streams together.
/// - Order   floating-point: ((0 + first) + second) + ..., in the order of the streams; indices ascend.
/// - Cost    each entry is read once and written once; stretches of 8192 indices that no stream enters cost nothing.
/// - Edges   entries that cancel stay, as zeros; a lone -0 comes out as +0; NaN and infinity pass through.
inline std::size_t sum_streams(stream const* streams, std::size_t count, std::size_t* next, index_t* index,
                               float* value) noexcept {
  detail::scatter_tile tile;
  std::fill_n(tile.value, detail::scatter_tile::size, 0.0f);
  std::fill_n(tile.pending, detail::scatter_tile::size / 64, std::uint64_t{0});
  std::fill_n(next, count, std::size_t{0});
  constexpr auto none = ~std::size_t{0};
  std::size_t written = 0;
  while (true) {
    auto first = none;
    for (std::size_t s = 0; s < count; ++s)
      if (next[s] < streams[s].count) first = std::min(first, std::size_t{streams[s].indices[next[s]]});
    if (first == none) return written;
    auto const begin = first / detail::scatter_tile::size * detail::scatter_tile::size;
    for (std::size_t s = 0; s < count; ++s)
      next[s] = detail::add_stream<true>(streams[s], next[s], begin, detail::scatter_tile::size, tile);
    written += detail::drain(tile, begin, index + written, value + written);
  }
}

/// Keeps, in place, the k entries of m that are largest by (|value| descending, index ascending). Returns min(k, m).
///
/// - Shape   words: kth_words_serial words of workspace. What lies behind the result is unspecified.
/// - Order   indices ascend, before and after.
/// - Edges   NaN is larger than infinity, and that than the rest: what is not finite is not lost.
inline std::size_t keep_largest(index_t* index, float* value, std::size_t m, std::size_t k,
                                std::uint32_t* words) noexcept {
  if (m <= k || k == 0) return std::min(m, k);
  auto const kth = find_kth(value, m, k, words);
  std::size_t at = 0, ties = kth.ties;
  for (std::size_t i = 0; i < m; ++i) {  // without a branch: no predictor can learn which entries are large
    auto const size = magnitude(value[i]);
    auto const level = static_cast<std::size_t>(size == kth.value) & static_cast<std::size_t>(ties != 0);
    index[at] = index[i];
    value[at] = value[i];
    at += static_cast<std::size_t>(size > kth.value) | level;
    ties -= level;
  }
  return at;
}

}  // namespace gradpress::kernel
