// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sparse vectors against dense ones: scatter the mean of several, gather, subtract, check indices.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/types.hpp>
#include <gradpress/kernel/isa.hpp>
#include <gradpress/kernel/launch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace gradpress::kernel {

/// A borrowed sparse vector: indices ascending and distinct.
struct stream {
  index_t const* indices;
  float const* values;
  std::size_t count;
};

namespace detail {

/// A part of the dense vector that is put together in the cache.
struct scatter_tile {
  static constexpr std::size_t size = 8192;
  alignas(64) float value[size];
  std::uint64_t pending[size / 64];  ///< entries that have not been divided yet; all 0 between tiles
};
/// How many streams keep their place from tile to tile; the others are searched for it.
inline constexpr std::size_t scatter_cursors = 64;
inline constexpr std::size_t scatter_grain = 8 * scatter_tile::size;

[[nodiscard]] inline bool is_power_of_two(float v) noexcept {
  int exponent;
  return std::frexp(v, &exponent) == 0.5f && exponent > -125 && exponent < 126;
}
/// The first entry of `s` at or after `index`.
inline std::size_t find_from(stream const& s, std::size_t index) noexcept {
  auto const* at =
      std::lower_bound(s.indices, s.indices + s.count, index, [](index_t i, std::size_t bound) { return i < bound; });
  return static_cast<std::size_t>(at - s.indices);
}

/// to = from * factor. 16 at a time: a fixed number is what compilers turn into vectors at -O2.
inline void copy_out(float const* from, float* to, std::size_t n, float factor) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t j = i; j < i + 16; ++j) to[j] = from[j] * factor;
  for (; i < n; ++i) to[i] = from[i] * factor;
}
/// The same around the caches, where the machine can. SSE2 is on every x86-64, so this needs no path of its own.
inline void stream_out(float const* from, float* to, std::size_t n, float factor) noexcept {
#if GRADPRESS_X86
  auto const head = std::min(n, (64 - reinterpret_cast<std::uintptr_t>(to) % 64) % 64 / sizeof(float));
  std::size_t i = head;
  copy_out(from, to, head, factor);  // the parts of lines at both ends go the plain way
  for (; i + 16 <= n; i += 16)
    for (std::size_t j = i; j < i + 16; j += 4)
      _mm_stream_ps(to + j, _mm_mul_ps(_mm_loadu_ps(from + j), _mm_set1_ps(factor)));
  copy_out(from + i, to + i, n - i, factor);
#else
  copy_out(from, to, n, factor);
#endif
}
inline void stream_fence() noexcept {
#if GRADPRESS_X86
  _mm_sfence();
#endif
}

/// Adds one stream's entries in the tile that begins at `begin`, from entry i on; returns the first entry beyond it.
template <bool Mark>
inline std::size_t add_stream(stream const& v, std::size_t i, std::size_t begin, std::size_t size,
                              scatter_tile& tile) noexcept {
  for (; i < v.count && v.indices[i] < begin + size; ++i) {
    auto const at = v.indices[i] - begin;
    tile.value[at] += v.values[i];
    if constexpr (Mark) tile.pending[at / 64] |= std::uint64_t{1} << at % 64;
  }
  return i;
}
/// Divides what was added, each entry once.
inline void divide_pending(scatter_tile& tile, float divisor) noexcept {
  for (std::size_t w = 0; w < scatter_tile::size / 64; ++w) {
    for (auto m = tile.pending[w]; m != 0; m &= m - 1)
      tile.value[w * 64 + static_cast<std::size_t>(std::countr_zero(m))] /= divisor;
    tile.pending[w] = 0;
  }
}

/// Writes out[begin, end), one chunk, tile by tile.
inline void scatter_chunk(stream const* streams, std::size_t count, float divisor, float* out, std::size_t begin,
                          std::size_t end, bool streaming) noexcept {
  // The reciprocal of a power of two is exact, so multiplying by it is dividing; it costs nothing on the way out.
  bool const exact = is_power_of_two(divisor);
  auto const factor = exact ? 1 / divisor : 1.0f;
  scatter_tile tile;
  std::fill_n(tile.pending, scatter_tile::size / 64, std::uint64_t{0});
  std::size_t cursor[scatter_cursors];
  for (std::size_t s = 0; s < std::min(count, scatter_cursors); ++s) cursor[s] = find_from(streams[s], begin);
  for (; begin < end; begin += scatter_tile::size) {
    auto const size = std::min(scatter_tile::size, end - begin);
    std::fill_n(tile.value, size, 0.0f);
    for (std::size_t s = 0; s < count; ++s) {
      auto const from = s < scatter_cursors ? cursor[s] : find_from(streams[s], begin);
      auto const to = exact ? add_stream<false>(streams[s], from, begin, size, tile)
                            : add_stream<true>(streams[s], from, begin, size, tile);
      if (s < scatter_cursors) cursor[s] = to;
    }
    if (!exact) divide_pending(tile, divisor);
    if (streaming)
      stream_out(tile.value, out + begin, size, factor);
    else
      copy_out(tile.value, out + begin, size, factor);
  }
  if (streaming) stream_fence();
}

/// Enough entries a chunk to be worth a launch.
inline constexpr std::size_t entry_grain = 16384;
/// How many entries ahead the dense vector is asked for.
inline constexpr std::size_t entry_ahead = 24;

inline void prefetch_entry(float const* x, index_t const* at, std::size_t i, std::size_t end) noexcept {
#if defined(__GNUC__)
  if (i + entry_ahead < end) __builtin_prefetch(x + at[i + entry_ahead]);
#endif
}

}  // namespace detail

/// out[i] = (the sum of what the streams hold at i, in their order) / divisor, 0 where none holds anything.
///
/// - Shape   out: n < 2^32 values; every index below n; divisor > 0.
/// - Order   floating-point: ((0 + first) + second) + ..., then one division; none where divisor is 1.
/// - Cost    out is written once, 4 bytes of traffic an element; 8 bytes an entry.
/// - Edges   count = 0 writes zeros; NaN and infinity pass through; -0 comes out as +0.
template <class Exec>
void scatter_mean(Exec const& exec, stream const* streams, std::size_t count, float divisor, float* out,
                  std::size_t n) {
  bool const streaming = n >= detail::streaming_from;
  for_ranges(exec, "gradpress::kernel::scatter_mean", n, detail::scatter_grain,
             [&](std::size_t begin, std::size_t end) {
               detail::scatter_chunk(streams, count, divisor, out, begin, end, streaming);
             });
}

/// The same for one support that all share: out[at[i]] = values[i] / divisor, 0 elsewhere.
template <class Exec>
void scatter_shared_mean(Exec const& exec, index_t const* at, float const* values, std::size_t k, float divisor,
                         float* out, std::size_t n) {
  stream const shared{at, values, k};
  scatter_mean(exec, &shared, 1, divisor, out, n);
}

/// values[i] = x[at[i]]. The indices may come in any order and repeat.
template <class Exec>
void gather(Exec const& exec, float const* x, index_t const* at, std::size_t k, float* values) {
  for_ranges(exec, "gradpress::kernel::gather", k, detail::entry_grain, [=](std::size_t begin, std::size_t end) {
    for (auto i = begin; i < end; ++i) {
      detail::prefetch_entry(x, at, i, end);
      values[i] = x[at[i]];
    }
  });
}

/// x[at[i]] -= values[i]. The indices are distinct.
template <class Exec>
void subtract_at(Exec const& exec, float* x, index_t const* at, float const* values, std::size_t k) {
  for_ranges(exec, "gradpress::kernel::subtract_at", k, detail::entry_grain, [=](std::size_t begin, std::size_t end) {
    for (auto i = begin; i < end; ++i) {
      detail::prefetch_entry(x, at, i, end);
      x[at[i]] -= values[i];
    }
  });
}

/// True if the indices ascend, are distinct and lie below n: what every support that comes from elsewhere must be.
[[nodiscard]] bool valid_indices(index_t const* at, std::size_t k, std::size_t n) noexcept;

#if GRADPRESS_BODIES
GRADPRESS_INLINE bool valid_indices(index_t const* at, std::size_t k, std::size_t n) noexcept {
  if (k == 0) return true;
  std::size_t i = 0;
  for (; i + 17 <= k; i += 16) {  // without a branch inside, compilers turn this into vectors
    std::uint32_t wrong = 0;
    for (std::size_t j = i; j < i + 16; ++j) wrong |= static_cast<std::uint32_t>(at[j] >= at[j + 1]);
    if (wrong != 0) return false;
  }
  for (; i + 1 < k; ++i)
    if (at[i] >= at[i + 1]) return false;
  return at[k - 1] < n;
}
#endif

GRADPRESS_ONCE(scatter_mean);
GRADPRESS_ONCE(scatter_shared_mean);
GRADPRESS_ONCE(gather);
GRADPRESS_ONCE(subtract_at);

}  // namespace gradpress::kernel
