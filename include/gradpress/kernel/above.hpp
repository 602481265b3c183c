// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which elements of a chunk reach a threshold, as one bit each: the pass over memory that compaction and top-k share.
///
/// A bit mask frees the order of reading from the order of the results: pages are read several at a time, which is what
/// keeps enough cache lines in flight, and the hits still come out by ascending index.

#include <gradpress/core/types.hpp>
#include <gradpress/kernel/isa.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gradpress::kernel {

/// The order of magnitudes as integers: |a| < |b| iff magnitude(a) < magnitude(b); NaN above infinity above the rest.
[[nodiscard]] inline std::uint32_t magnitude(float x) noexcept { return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu; }
/// Magnitude of infinity: at or above it, a value is not finite.
inline constexpr std::uint32_t not_finite = 0x7f800000u;

/// Chunks of n elements whose inner borders lie on cache lines of one array: an unaligned head, then whole chunks.
struct line_chunks {
  static constexpr std::size_t grain = 32768;
  std::size_t n, head;

  line_chunks(float const* lines_of, std::size_t size) noexcept
      : n(size), head(std::min(size, (64 - reinterpret_cast<std::uintptr_t>(lines_of) % 64) % 64 / sizeof(float))) {}
  [[nodiscard]] static constexpr std::size_t bound(std::size_t n) noexcept { return (n + grain - 1) / grain + 1; }
  [[nodiscard]] std::size_t count() const noexcept { return (n - head + grain - 1) / grain + 1; }
  [[nodiscard]] std::size_t begin(std::size_t c) const noexcept { return c == 0 ? 0 : head + (c - 1) * grain; }
  [[nodiscard]] std::size_t end(std::size_t c) const noexcept { return std::min(n, head + c * grain); }
};

/// One bit an element of at most Most; the bits from their end to the end of the last word are 0.
template <std::size_t Most>
struct marks {
  static constexpr std::size_t words = Most / 64;
  std::uint64_t word[words];
};
using chunk_mask = marks<line_chunks::grain>;

/// What is marked: x, or the sum g + e, which is also written to `sum`.
struct marked_input {
  float const* x;
  float const* e = nullptr;
  float* sum = nullptr;
  bool streaming = false;  ///< write `sum` around the caches; its chunks then start on cache lines
};

namespace detail {

enum class marking { plain, sum, sum_streaming };
/// Elements of a page of memory.
inline constexpr std::size_t page = 1024;
/// How many pages are read side by side. Measured: reading alone gains from 8 on Intel and loses nothing on AMD; with a
/// second input and an output, Intel is fastest with 4 and AMD, by a fifth, with 1.
template <marking M>
[[nodiscard]] inline std::size_t pages_side_by_side() noexcept {
  if (M == marking::plain) return 8;
#if GRADPRESS_X86
  if (__builtin_cpu_is("intel")) return 4;
#endif
  return 1;
}

/// Asks for 64 elements of each input, `ahead` further on, to come to the second-level cache. That may be past the
/// chunk, which is meant: the next chunk is usually the next one of this thread. Past the array it does nothing.
template <marking M>
inline void prefetch64(marked_input const& in, std::size_t at, std::size_t ahead) noexcept {
#if defined(__GNUC__)
  for (std::size_t l = 0; l < 64; l += 16) {
    __builtin_prefetch(in.x + at + ahead + l, 0, 2);
    if constexpr (M != marking::plain) __builtin_prefetch(in.e + at + ahead + l, 0, 2);
  }
#endif
}

template <marking M>
inline float marked_value(marked_input const& in, std::size_t i) noexcept {
  if constexpr (M == marking::plain) return in.x[i];
  return in.sum[i] = in.x[i] + in.e[i];
}
/// Up to 64 elements from `at`.
template <marking M>
inline std::uint64_t mark_few(marked_input const& in, std::size_t at, std::size_t count, std::uint32_t t) noexcept {
  std::uint64_t m = 0;
  for (std::size_t j = 0; j < count; ++j)
    m |= static_cast<std::uint64_t>(magnitude(marked_value<M>(in, at + j)) >= t) << j;
  return m;
}
/// 64 elements: a test of 16 that compilers turn into vectors, and bit by bit only where one of them is a hit.
template <marking M>
inline std::uint64_t mark64_portable(marked_input const& in, std::size_t at, std::uint32_t t) noexcept {
  std::uint64_t m = 0;
  for (std::size_t q = 0; q < 64; q += 16) {
    auto const* v = in.x + at + q;
    [[maybe_unused]] float sum[16];  // local, so that it overlaps nothing
    if constexpr (M != marking::plain) {
      for (std::size_t j = 0; j < 16; ++j) sum[j] = v[j] + in.e[at + q + j];
      std::memcpy(in.sum + at + q, sum, sizeof(sum));
      v = sum;
    }
    std::uint32_t all_below = 0xffffffffu;
    for (std::size_t j = 0; j < 16; ++j) all_below &= magnitude(v[j]) - t;  // both are below 2^31: the sign tells
    if (all_below >> 31 == 0)
      for (std::size_t j = 0; j < 16; ++j) m |= static_cast<std::uint64_t>(magnitude(v[j]) >= t) << (q + j);
  }
  return m;
}
template <marking M>
inline std::size_t mark_portable(marked_input const& in, std::size_t n, std::uint32_t t, std::uint64_t* word) noexcept {
  auto const group = pages_side_by_side<M>() * page, ahead = std::max(group, 2 * page);
  std::size_t i = 0, hits = 0;
  for (; i + group <= n; i += group)
    for (std::size_t l = 0; l < page; l += 64)
      for (std::size_t at = i + l; at < i + group; at += page) {
        prefetch64<M>(in, at, ahead);
        word[at / 64] = mark64_portable<M>(in, at, t);
        if (word[at / 64] != 0) hits += static_cast<std::size_t>(std::popcount(word[at / 64]));
      }
  for (; i + 64 <= n; i += 64)
    hits += static_cast<std::size_t>(std::popcount(word[i / 64] = mark64_portable<M>(in, i, t)));
  return hits;
}

#if GRADPRESS_X86
template <marking M>
GRADPRESS_AVX2_PIECE std::uint64_t mark8_avx2(marked_input const& in, std::size_t at, __m256i below) noexcept {
  __m256 v = _mm256_loadu_ps(in.x + at);
  if constexpr (M != marking::plain) v = _mm256_add_ps(v, _mm256_loadu_ps(in.e + at));
  if constexpr (M == marking::sum) _mm256_storeu_ps(in.sum + at, v);
  if constexpr (M == marking::sum_streaming) _mm256_stream_ps(in.sum + at, v);
  auto const bits = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(bits, below))));
}
template <marking M>
GRADPRESS_AVX2_PIECE std::uint64_t mark64_avx2(marked_input const& in, std::size_t at, __m256i below) noexcept {
  return mark8_avx2<M>(in, at, below) | mark8_avx2<M>(in, at + 8, below) << 8 |
         mark8_avx2<M>(in, at + 16, below) << 16 | mark8_avx2<M>(in, at + 24, below) << 24 |
         mark8_avx2<M>(in, at + 32, below) << 32 | mark8_avx2<M>(in, at + 40, below) << 40 |
         mark8_avx2<M>(in, at + 48, below) << 48 | mark8_avx2<M>(in, at + 56, below) << 56;
}
template <marking M>
GRADPRESS_AVX2 std::size_t mark_avx2(marked_input const& in, std::size_t n, std::uint32_t t, std::uint64_t* word) {
  auto const below = _mm256_set1_epi32(static_cast<int>(t) - 1);  // AVX2 has only a signed "greater than"
  auto const group = pages_side_by_side<M>() * page, ahead = std::max(group, 2 * page);
  std::size_t i = 0, hits = 0;
  for (; i + group <= n; i += group)
    for (std::size_t l = 0; l < page; l += 64)
      for (std::size_t at = i + l; at < i + group; at += page) {
        prefetch64<M>(in, at, ahead);
        hits += static_cast<std::size_t>(_mm_popcnt_u64(word[at / 64] = mark64_avx2<M>(in, at, below)));
      }
  for (; i + 64 <= n; i += 64)
    hits += static_cast<std::size_t>(_mm_popcnt_u64(word[i / 64] = mark64_avx2<M>(in, i, below)));
  return hits;
}

template <marking M>
GRADPRESS_AVX512_PIECE __mmask16 mark16_avx512(marked_input const& in, std::size_t at, __m512i t) noexcept {
  __m512 v = _mm512_loadu_ps(in.x + at);
  if constexpr (M != marking::plain) v = _mm512_add_ps(v, _mm512_loadu_ps(in.e + at));
  if constexpr (M == marking::sum) _mm512_storeu_ps(in.sum + at, v);
  if constexpr (M == marking::sum_streaming) _mm512_stream_ps(in.sum + at, v);
  return _mm512_cmpge_epi32_mask(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)), t);
}
template <marking M>
GRADPRESS_AVX512_PIECE std::uint64_t mark64_avx512(marked_input const& in, std::size_t at, __m512i t) noexcept {
  auto const low = _mm512_kunpackw(mark16_avx512<M>(in, at + 16, t), mark16_avx512<M>(in, at, t));
  auto const high = _mm512_kunpackw(mark16_avx512<M>(in, at + 48, t), mark16_avx512<M>(in, at + 32, t));
  return _cvtmask64_u64(_mm512_kunpackd(high, low));
}
template <marking M>
GRADPRESS_AVX512 std::size_t mark_avx512(marked_input const& in, std::size_t n, std::uint32_t t, std::uint64_t* word) {
  auto const at_least = _mm512_set1_epi32(static_cast<int>(t));
  auto const group = pages_side_by_side<M>() * page, ahead = std::max(group, 2 * page);
  std::size_t i = 0, hits = 0;
  for (; i + group <= n; i += group)
    for (std::size_t l = 0; l < page; l += 64)
      for (std::size_t at = i + l; at < i + group; at += page) {
        prefetch64<M>(in, at, ahead);
        hits += static_cast<std::size_t>(_mm_popcnt_u64(word[at / 64] = mark64_avx512<M>(in, at, at_least)));
      }
  for (; i + 64 <= n; i += 64)
    hits += static_cast<std::size_t>(_mm_popcnt_u64(word[i / 64] = mark64_avx512<M>(in, i, at_least)));
  return hits;
}
#endif

template <marking M>
inline std::size_t mark(isa how, marked_input const& in, std::size_t n, std::uint32_t t, std::uint64_t* word) {
  std::size_t hits;
#if GRADPRESS_X86
  // Streaming stores need aligned addresses: the head of the array, a chunk of its own, goes the plain way.
  if (how == isa::avx512)
    hits = mark_avx512<M>(in, n, t, word);
  else if (how == isa::avx2)
    hits = mark_avx2<M>(in, n, t, word);
  else
#endif
    hits = mark_portable<M>(in, n, t, word);
  static_cast<void>(how);
  if (n % 64 != 0) {
    auto& last = word[n / 64];
    last = mark_few<M>(in, n / 64 * 64, n % 64, t);
    hits += static_cast<std::size_t>(std::popcount(last));
  }
#if GRADPRESS_X86
  if constexpr (M == marking::sum_streaming) _mm_sfence();
#endif
  return hits;
}

/// Lists the marked positions; see list_marked.
[[gnu::always_inline]] inline void list_bits(std::uint64_t const* word, std::size_t words, index_t first,
                                             std::size_t count, index_t* out) noexcept {
  std::size_t at = 0;
  // Many words hit: write four, right or not, and step by the true number, so that no branch depends on the data.
  if (count * 8 > words)
    for (; at + 4 <= count; ++word, first += 64) {
      auto m = *word;
      auto const c = static_cast<std::size_t>(std::popcount(m));
      if (c <= 4)
        for (std::size_t j = 0; j < 4; ++j, m &= m - 1) out[at + j] = first + static_cast<index_t>(std::countr_zero(m));
      else
        for (std::size_t j = 0; j < c; ++j, m &= m - 1) out[at + j] = first + static_cast<index_t>(std::countr_zero(m));
      at += c;
    }
  for (; at < count; ++word, first += 64)
    for (auto m = *word; m != 0; m &= m - 1) out[at++] = first + static_cast<index_t>(std::countr_zero(m));
}
#if GRADPRESS_X86
GRADPRESS_AVX2 inline void list_bits_avx2(std::uint64_t const* word, std::size_t words, index_t first,
                                          std::size_t count, index_t* out) noexcept {
  list_bits(word, words, first, count, out);
}
GRADPRESS_AVX512 inline void list_bits_avx512(std::uint64_t const* word, std::size_t words, index_t first,
                                              std::size_t count, index_t* out) noexcept {
  // Dense: compressing 16 positions at a time beats one bit at a time. It writes up to 16 entries too many.
  if (count > 4 * words) {
    auto const step = _mm512_set1_epi32(16);
    auto at = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                               _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    for (; count >= 80; ++word, --words, first += 64)
      for (unsigned q = 0; q < 64; q += 16) {
        auto const m = static_cast<__mmask16>(*word >> q);
        _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(m, at));
        at = _mm512_add_epi32(at, step);
        out += _mm_popcnt_u32(m);
        count -= static_cast<std::size_t>(_mm_popcnt_u32(m));
      }
  }
  list_bits(word, words, first, count, out);
}
#endif

}  // namespace detail

/// Marks the elements [begin, end) of `in` whose magnitude is at least `threshold` (<= not_finite, so that no NaN or
/// infinity escapes), at most Most of them; returns how many there are.
template <std::size_t Most>
std::size_t mark_above(isa how, marked_input in, std::size_t begin, std::size_t end, std::uint32_t threshold,
                       marks<Most>& mask) {
  in.x += begin;
  if (in.e == nullptr) return detail::mark<detail::marking::plain>(how, in, end - begin, threshold, mask.word);
  in.e += begin, in.sum += begin;
  if (in.streaming && how != isa::portable && end - begin >= 64)
    return detail::mark<detail::marking::sum_streaming>(how, in, end - begin, threshold, mask.word);
  return detail::mark<detail::marking::sum>(how, in, end - begin, threshold, mask.word);
}

/// Writes the positions of the `count` marked elements, counted from `first`, ascending.
template <std::size_t Most>
void list_marked(isa how, marks<Most> const& mask, std::size_t first, std::size_t count, index_t* out) noexcept {
  constexpr auto words = marks<Most>::words;
#if GRADPRESS_X86
  if (how == isa::avx512) return detail::list_bits_avx512(mask.word, words, static_cast<index_t>(first), count, out);
  if (how == isa::avx2) return detail::list_bits_avx2(mask.word, words, static_cast<index_t>(first), count, out);
#endif
  static_cast<void>(how);
  detail::list_bits(mask.word, words, static_cast<index_t>(first), count, out);
}

}  // namespace gradpress::kernel
