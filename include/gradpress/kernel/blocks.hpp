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
