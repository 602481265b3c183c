// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Ternary codes in plain C++: the reference for the other paths, and their way through tails.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/blocks.hpp>

#include <cmath>
#include <concepts>

namespace gradpress::kernel {

template <class T>
concept ternary_code = std::same_as<T, std::int8_t> || std::same_as<T, std::int16_t>;

namespace detail {

/// What an encoder reads and writes; e and rest may be null.
template <ternary_code T>
struct ternary_encoding {
  float const* g;
  float const* e;
  float* rest;
  float scale;  ///< more than 0
  std::uint64_t key;
  T* codes;
  bool streaming;  ///< write rest around the caches
};

/// Elements [from, to); from is a multiple of 4.
template <ternary_code T>
inline void ternary_encode_values(ternary_encoding<T> const& by_reference, std::size_t from, std::size_t to) noexcept {
  auto const s = by_reference;  // of its own: writing bytes could change the other, for all the compiler knows
  for (auto i = from; i < to; i += 4) {
    auto const random = philox(s.key, i / 4);
    for (std::size_t l = i; l < std::min(i + 4, to); ++l) {
      auto const x = s.e ? s.g[l] + s.e[l] : s.g[l];
      auto const uniform = static_cast<float>(random.word[l - i] >> 8);  // in [0, 2^24), exact
      auto const hit = uniform < std::fabs(x) / s.scale * 0x1p24f;
      s.codes[l] = static_cast<T>(hit ? (std::signbit(x) ? -1 : 1) : 0);
      if (s.rest) s.rest[l] = hit ? x - std::copysign(s.scale, x) : x;
    }
  }
}

template <ternary_code T>
inline void ternary_decode_values(T const* codes, std::size_t from, std::size_t to, float scale, float* x) noexcept {
  for (auto i = from; i < to; ++i) x[i] = scale * static_cast<float>(codes[i]);
}

}  // namespace detail
}  // namespace gradpress::kernel
