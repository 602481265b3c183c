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
  std::byte* codes;
  bool streaming = false;  ///< write rest around the caches

  [[nodiscard]] std::byte* code(std::size_t i) const noexcept {
    return codes + 4 * in.count() + i * static_cast<std::size_t>(bits) / 8;
  }
};

/// Writes k <= 16 codes; all bits of the last byte.
inline void pack_codes(int const* q, std::size_t k, int bits, std::byte* out) noexcept {
  auto const a_byte = static_cast<std::size_t>(8 / bits);
  for (std::size_t i = 0; i < k; i += a_byte) {
    unsigned byte = 0;
    for (std::size_t j = 0; j < std::min(a_byte, k - i); ++j)
      byte |= (static_cast<unsigned>(q[i + j]) & ((1u << bits) - 1)) << (j * static_cast<unsigned>(bits));
    out[i / a_byte] = static_cast<std::byte>(byte);
  }
}

/// Codes of elements [at, at + m), which are a[0..m) and lie in one block; at is a multiple of 16.
inline void int_encode_values(int_encoding const& s, int_step const& step, float const* a, std::size_t at, std::size_t m) noexcept {
  for (std::size_t i = 0; i < m; i += 16) {
    auto const k = std::min<std::size_t>(16, m - i);
    auto const random = s.stochastic ? philox(s.key, (at + i) / 16) : philox_block{};
    int q[16];
    for (std::size_t l = 0; l < k; ++l)
      q[l] = int_code(a[i + l], step, s.stochastic, random.word[l / 4] >> (8 * (l % 4)) & 0xffu);
    if (s.rest)
      for (std::size_t l = 0; l < k; ++l) s.rest[at + i + l] = a[i + l] - static_cast<float>(q[l]) * step.scale;
    pack_codes(q, k, s.bits, s.code(at + i));
  }
}

inline bool int_encode_block(int_encoding const& s, std::size_t b) noexcept {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const* const a = s.rest ? add_into(s.g + at, s.e ? s.e + at : nullptr, s.rest + at, m) : s.g + at;
  std::uint32_t top = 0;
  for (std::size_t i = 0; i < m; ++i) top = std::max(top, std::bit_cast<std::uint32_t>(a[i]) & 0x7fffffffu);
  auto const step = make_int_step(top, s.bits, s.stochastic);
  store(s.codes + 4 * b, step.scale);
  int_encode_values(s, step, a, at, m);
  return top < 0x7f800000u;
}

/// x = decoded, or x += decoded * factor.
struct int_decoding {
  std::byte const* codes;
  blocks in;
  int bits;
  float factor;
  bool add;
  float* x;
  bool streaming = false;  ///< write x around the caches

  [[nodiscard]] std::byte const* code(std::size_t i) const noexcept {
    return codes + 4 * in.count() + i * static_cast<std::size_t>(bits) / 8;
  }
};

inline void int_decode_values(int_decoding const& s, float scale, std::size_t at, std::size_t m) noexcept {
  auto const a_byte = static_cast<std::size_t>(8 / s.bits);
  for (std::size_t i = 0; i < m; ++i) {
    auto const byte = static_cast<unsigned>(s.code(at + i - i % a_byte)[0]) >> (i % a_byte * static_cast<unsigned>(s.bits));
    auto const q = static_cast<std::int8_t>(byte << (8 - s.bits)) >> (8 - s.bits);
    auto const value = static_cast<float>(q) * scale;
    s.x[at + i] = s.add ? s.x[at + i] + value : value;
  }
}

inline void int_decode_block(int_decoding const& s, std::size_t b) noexcept {
  int_decode_values(s, s.factor * load_float(s.codes + 4 * b), b * s.in.block, s.in.size(b));
}

}  // namespace gradpress::kernel::detail
