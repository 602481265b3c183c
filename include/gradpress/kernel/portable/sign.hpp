// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The sign codec in plain C++: the reference for the other paths, and their way through tails.

#include <gradpress/kernel/blocks.hpp>

#include <cmath>
#include <limits>

namespace gradpress::kernel::detail {

/// Scales are added up in pieces of this many elements.
inline constexpr std::size_t sign_piece = 1024;

/// What an encoder reads and writes; e may be null, and without e also rest.
struct sign_encoding {
  float const* g;
  float const* e;
  float* rest;
  blocks in;
  std::byte* scales;
  std::byte* words;
  bool streaming;  ///< write rest around the caches
  /// Elements decode to +1 or -1, and what stands for the scale is more than 0 where any of them is not 0.
  bool unit = false;

  [[nodiscard]] float decoded(float scale) const noexcept { return unit ? 1.f : scale; }
};

/// The tree that ends every sum over 16 lanes.
inline float fold16(float const* lane) noexcept {
  float a[8], b[4];
  for (int l = 0; l < 8; ++l) a[l] = lane[l] + lane[l + 8];
  for (int l = 0; l < 4; ++l) b[l] = a[l] + a[l + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

/// Adds |x| to the lanes: element i to lane i % 16.
inline void add_magnitudes(float const* x, std::size_t m, float* lane) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= m; i += 16)
    for (std::size_t l = 0; l < 16; ++l) lane[l] += std::fabs(x[i + l]);
  for (std::size_t l = 0; i + l < m; ++l) lane[l] += std::fabs(x[i + l]);
}

/// The mean of |x|, given its sum; the slow way only if the sum left the range of float. Infinite or NaN only if x is.
inline float sign_scale(double sum, float const* x, std::size_t m) noexcept {
  if (!std::isfinite(sum)) {
    sum = 0;
    for (std::size_t i = 0; i < m; ++i) sum += std::fabs(static_cast<double>(x[i]));
  }
  return static_cast<float>(sum / static_cast<double>(m));
}

/// The scale of block b, which is the m values of x, goes to its place.
inline float put_sign_scale(sign_encoding const& s, std::size_t b, double sum, float const* x, std::size_t m) noexcept {
  auto scale = sign_scale(sum, x, m);
  if (s.unit && scale == 0 && sum > 0) scale = std::numeric_limits<float>::denorm_min();
  store(s.scales + 4 * b, scale);
  return scale;
}

inline std::uint32_t sign_word(float const* x, std::size_t m) noexcept {
  std::uint32_t word = 0;
  for (std::size_t l = 0; l < m; ++l) word |= (std::bit_cast<std::uint32_t>(x[l]) >> 31) << l;
  return word;
}

/// Up to 1024 elements that continue a piece at lane 0: sums, words, lanes.
inline void sign_values(float const* g, float const* e, float* a, std::size_t m, std::byte* words,
                        float* lane) noexcept {
  auto const* const x = a ? add_into(g, e, a, m) : g;
  add_magnitudes(x, m, lane);
  std::size_t i = 0;
  for (; i + 32 <= m; i += 32) store(words + i / 8, sign_word(x + i, 32));
  if (i < m) store(words + i / 8, sign_word(x + i, m - i));
}

/// rest = a - decoded; rest may be a.
inline void sign_rest(float const* a, float scale, std::size_t m, float* rest) noexcept {
  for (std::size_t i = 0; i < m; ++i) rest[i] = a[i] - std::copysign(scale, a[i]);
}

inline bool sign_encode_block(sign_encoding const& s, std::size_t b) noexcept {
  auto const at = b * s.in.block, m = s.in.size(b);
  double total = 0;
  for (std::size_t i = 0; i < m; i += sign_piece) {
    float lane[16] = {};
    sign_values(s.g + at + i, s.e ? s.e + at + i : s.e, s.rest ? s.rest + at + i : s.rest, std::min(sign_piece, m - i),
                s.words + (at + i) / 8, lane);
    total += static_cast<double>(fold16(lane));
  }
  auto const* const a = s.rest ? s.rest + at : s.g + at;
  auto const scale = put_sign_scale(s, b, total, a, m);
  if (s.rest) sign_rest(a, s.decoded(scale), m, s.rest + at);
  return std::isfinite(scale);
}

/// x = decoded, or x += decoded * factor.
struct sign_decoding {
  std::byte const* scales;
  std::byte const* words;
  blocks in;
  float factor;
  bool add;
  float* x;
  bool streaming;  ///< write x around the caches
};

/// Elements [at, at + m), all of one block; at is a multiple of 8.
inline void sign_decode_values(sign_decoding const& s, float scale, std::size_t at, std::size_t m) noexcept {
  auto const positive = std::bit_cast<std::uint32_t>(s.factor * scale);
  for (std::size_t i = 0; i < m; i += 8) {
    auto const signs = static_cast<std::uint32_t>(s.words[(at + i) / 8]);
    float* const x = s.x + at + i;
    float v[8];
    for (int l = 0; l < 8; ++l) v[l] = std::bit_cast<float>(positive ^ (signs >> l << 31));
    auto const k = std::min<std::size_t>(8, m - i);
    if (s.add)
      for (std::size_t l = 0; l < k; ++l) x[l] += v[l];
    else
      std::memcpy(x, v, k * sizeof(float));
  }
}
inline void sign_decode_block(sign_decoding const& s, std::size_t b) noexcept {
  sign_decode_values(s, load_float(s.scales + 4 * b), b * s.in.block, s.in.size(b));
}

}  // namespace gradpress::kernel::detail
