// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Vectors cut into blocks that are coded on their own, and what block codecs share.

#include <gradpress/kernel/isa.hpp>
#include <gradpress/kernel/launch.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gradpress::kernel {

static_assert(std::endian::native == std::endian::little, "gradpress: the wire is little-endian and so is this code.");

/// n elements in blocks of `block`; the last one may be short. Chunks are whole blocks, about 32768 elements.
struct blocks {
  std::size_t n, block;

  [[nodiscard]] constexpr std::size_t count() const noexcept { return (n + block - 1) / block; }
  [[nodiscard]] constexpr std::size_t a_chunk() const noexcept { return std::max<std::size_t>(1, 32768 / block); }
  [[nodiscard]] constexpr std::size_t chunks() const noexcept { return (count() + a_chunk() - 1) / a_chunk(); }
  /// First block of chunk c; that of the next chunk ends it.
  [[nodiscard]] constexpr std::size_t first(std::size_t c) const noexcept { return std::min(count(), c * a_chunk()); }
  /// Elements of block b.
  [[nodiscard]] constexpr std::size_t size(std::size_t b) const noexcept { return std::min(block, n - b * block); }
};

namespace detail {

inline float load_float(std::byte const* from) noexcept {
  float x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
template <class T>
inline void store(std::byte* to, T x) noexcept {
  std::memcpy(to, &x, sizeof x);
}

/// a = g + e, or g if e is null; a may be g or e. Returns a.
inline float const* add_into(float const* g, float const* e, float* a, std::size_t m) noexcept {
  if (e)
    for (std::size_t i = 0; i < m; ++i) a[i] = g[i] + e[i];
  else if (a != g)
    std::memcpy(a, g, m * sizeof(float));
  return a;
}

/// Bits of the largest magnitude.
inline std::uint32_t top_magnitude(float const* x, std::size_t m) noexcept {
  // Small loops of fixed length, signed integers: what compilers turn into vectors at -O2, even for SSE2.
  std::int32_t lane[16] = {};
  std::size_t i = 0;
  for (; i + 16 <= m; i += 16)
    for (std::size_t l = 0; l < 16; ++l)
      lane[l] = std::max(lane[l], std::bit_cast<std::int32_t>(x[i + l]) & 0x7fffffff);
  for (std::size_t l = 0; i + l < m; ++l)
    lane[l] = std::max(lane[l], std::bit_cast<std::int32_t>(x[i + l]) & 0x7fffffff);
  return static_cast<std::uint32_t>(*std::max_element(lane, lane + 16));
}

/// To be called once for every line of 16 elements of an input that is read in order.
///
/// One sequential stream keeps too few lines in flight on some machines. So the 16 KB after the current ones are asked
/// for in turn from their four pages, while the elements themselves are still used in order. Past the end of the input
/// it does nothing; where one stream is enough it costs nothing that can be measured.
inline void read_ahead([[maybe_unused]] float const* x) noexcept {
#if defined(__GNUC__)
  auto const address = reinterpret_cast<std::uintptr_t>(x), line = address / 64 % 256;
  auto const target = (address | 16383) + 1 + line % 4 * 4096 + line / 4 * 64;
  __builtin_prefetch(reinterpret_cast<void const*>(target), 0, 2);
#endif
}

/// Should n elements of `out`, which are only written, go around the caches? Only whole lines can.
template <class T>
[[nodiscard]] inline bool streams(T const* out, std::size_t n) noexcept {
  return n >= streaming_from && reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
}
/// Ends a chunk that wrote around the caches.
inline void end_streaming([[maybe_unused]] bool streaming) noexcept {
#if GRADPRESS_X86
  if (streaming) _mm_sfence();
#endif
}

/// Blocks up to this size are summed up in memory of the stack, so that what is kept is written once.
inline constexpr std::size_t block_room = 4096;

}  // namespace detail
}  // namespace gradpress::kernel
