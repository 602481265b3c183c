// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The integer block codec in plain C++: the reference for the other paths, and their way through tails and odd blocks.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/blocks.hpp>
#include <gradpress/kernel/int_step.hpp>

namespace gradpress::kernel::detail {

/// What an encoder reads and writes; e may be null, and without e also rest.
struct int_encoding {
  float const* g;
  float const* e;
  float* rest;
  blocks in;
  int bits;
  bool stochastic;
  std::uint64_t key;
  std::byte* scales;
  std::byte* codes;
  bool streaming;  ///< write rest around the caches

  /// Where the code of element i starts, a multiple of 8 / bits.
  [[nodiscard]] std::byte* code(std::size_t i) const noexcept { return codes + i * static_cast<std::size_t>(bits) / 8; }
};

/// 16 codes into their bits: 16, 8 or 4 bytes.
inline void pack16(std::int32_t const* q, int bits, std::uint8_t* out) noexcept {
  if (bits == 8)
    for (int j = 0; j < 16; ++j) out[j] = static_cast<std::uint8_t>(q[j]);
  else if (bits == 4)
    for (int j = 0; j < 8; ++j) out[j] = static_cast<std::uint8_t>((q[2 * j] & 15) | (q[2 * j + 1] & 15) << 4);
  else
    for (int j = 0; j < 4; ++j)
      out[j] = static_cast<std::uint8_t>((q[4 * j] & 3) | (q[4 * j + 1] & 3) << 2 | (q[4 * j + 2] & 3) << 4 |
                                         (q[4 * j + 3] & 3) << 6);
}
inline void unpack16(std::uint8_t const* in, int bits, std::int32_t* q) noexcept {
  if (bits == 8)
    for (int j = 0; j < 16; ++j) q[j] = static_cast<std::int8_t>(in[j]);
  else if (bits == 4)
    for (int j = 0; j < 16; ++j) q[j] = static_cast<std::int8_t>(in[j / 2] >> (j % 2 * 4) << 4) >> 4;
  else
    for (int j = 0; j < 16; ++j) q[j] = static_cast<std::int8_t>(in[j / 4] >> (j % 4 * 2) << 6) >> 6;
}

/// Codes of elements [at, at + m), which are a[0..m) and lie in one block; at is a multiple of 16.
inline void int_encode_values(int_encoding const& s, int_step const& step, float const* a, std::size_t at,
                              std::size_t m) noexcept {
  for (std::size_t i = 0; i < m; i += 16) {
    auto const k = std::min<std::size_t>(16, m - i);
    float v[16] = {};
    std::memcpy(v, a + i, k * sizeof(float));
    std::int32_t q[16];
    for (int l = 0; l < 16; ++l) q[l] = int_code(v[l], step, false, 0);
    if (s.stochastic) {  // the second half of int_code
      auto const random = philox(s.key, (at + i) / 16);
      std::uint8_t byte[16];
      std::memcpy(byte, random.word, sizeof byte);
      for (int l = 0; l < 16; ++l) q[l] = (q[l] + byte[l]) >> 8;
    }
    if (s.rest) {
      for (int l = 0; l < 16; ++l) v[l] -= static_cast<float>(q[l]) * step.scale;
      std::memcpy(s.rest + at + i, v, k * sizeof(float));
    }
    std::fill(q + k, q + 16, 0);
    std::uint8_t out[16];
    pack16(q, s.bits, out);
    std::memcpy(s.code(at + i), out, (k * static_cast<std::size_t>(s.bits) + 7) / 8);
  }
}

inline bool int_encode_block(int_encoding const& s, std::size_t b) noexcept {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const* const a = s.rest ? add_into(s.g + at, s.e ? s.e + at : nullptr, s.rest + at, m) : s.g + at;
  auto const top = top_magnitude(a, m);
  auto const step = make_int_step(top, s.bits, s.stochastic);
  store(s.scales + 4 * b, step.scale);
  int_encode_values(s, step, a, at, m);
  return top < 0x7f800000u;
}

/// x = decoded, or x += decoded * factor.
struct int_decoding {
  std::byte const* scales;
  std::byte const* codes;
  blocks in;
  int bits;
  float factor;
  bool add;
  float* x;
  bool streaming;  ///< write x around the caches

  [[nodiscard]] std::byte const* code(std::size_t i) const noexcept {
    return codes + i * static_cast<std::size_t>(bits) / 8;
  }
};

/// Elements [at, at + m), all of one block; at is a multiple of 8.
inline void int_decode_values(int_decoding const& s, float scale, std::size_t at, std::size_t m) noexcept {
  for (std::size_t i = 0; i < m; i += 16) {
    auto const k = std::min<std::size_t>(16, m - i);
    std::uint8_t in[16] = {};
    std::memcpy(in, s.code(at + i), (k * static_cast<std::size_t>(s.bits) + 7) / 8);
    std::int32_t q[16];
    unpack16(in, s.bits, q);
    float v[16], before[16] = {};
    for (int l = 0; l < 16; ++l) v[l] = static_cast<float>(q[l]) * scale;
    if (s.add) {
      std::memcpy(before, s.x + at + i, k * sizeof(float));
      for (int l = 0; l < 16; ++l) v[l] += before[l];
    }
    std::memcpy(s.x + at + i, v, k * sizeof(float));
  }
}

inline void int_decode_block(int_decoding const& s, std::size_t b) noexcept {
  int_decode_values(s, s.factor * load_float(s.scales + 4 * b), b * s.in.block, s.in.size(b));
}

}  // namespace gradpress::kernel::detail
