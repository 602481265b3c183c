// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Casts in plain C++: the reference for the other paths, and their way through tails.

#include <gradpress/core/half.hpp>
#include <gradpress/kernel/blocks.hpp>

namespace gradpress::kernel::detail {

/// Bits of the largest |x| that a narrow type takes: for bf16 what does not round to infinity, for fp16 exactly 65504.
template <class T>
inline constexpr std::uint32_t cast_limit = std::is_same_v<T, float16> ? 0x477fe000u : 0x7f7f7fffu;

/// What an encoder reads and writes; e and rest may be null.
template <class T>
struct cast_encoding {
  float const* g;
  float const* e;
  float* rest;
  T* out;
  bool streaming;  ///< write rest around the caches
};

/// Codes of [from, to); the bits of the largest magnitude.
template <class T>
inline std::uint32_t cast_encode_values(cast_encoding<T> const& s, std::size_t from, std::size_t to) noexcept {
  std::uint32_t top = 0;
  for (auto i = from; i < to; ++i) {
    auto const a = s.e ? s.g[i] + s.e[i] : s.g[i];
    top = std::max(top, std::bit_cast<std::uint32_t>(a) & 0x7fffffffu);
    s.out[i] = narrow<T>(a);
    if (s.rest) s.rest[i] = a - to_float(s.out[i]);
  }
  return top;
}

/// x = in if factor is 0; otherwise x += factor * in, with factor +1 or -1.
template <class T>
struct cast_decoding {
  T const* in;
  float factor;
  float* x;
  bool streaming;  ///< write x around the caches
};

template <class T>
inline void cast_decode_values(cast_decoding<T> const& s, std::size_t from, std::size_t to) noexcept {
  for (auto i = from; i < to; ++i) {
    auto const v = to_float(s.in[i]);
    s.x[i] = s.factor > 0 ? s.x[i] + v : s.factor < 0 ? s.x[i] - v : v;
  }
}

}  // namespace gradpress::kernel::detail
