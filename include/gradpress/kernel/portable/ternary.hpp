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

struct ternary_draw {
  float scale;
  std::uint64_t key;
  std::size_t first;  ///< which element x[0] is, for its random number; a multiple of 4
};

/// Elements [from, to); from is a multiple of 4.
template <ternary_code T>
inline void ternary_encode_values(float const* x, std::size_t from, std::size_t to, ternary_draw const& d,
                                  T* codes) noexcept {
  auto const [scale, key, first] = d;
  for (auto i = from; i < to; i += 4) {
    auto const random = philox(key, (first + i) / 4);
    for (std::size_t l = 0; l < std::min<std::size_t>(4, to - i); ++l) {
      auto const uniform = static_cast<float>(random.word[l] >> 8);  // in [0, 2^24), exact
      auto const hit = uniform < std::fabs(x[i + l]) / scale * 0x1p24f;
      codes[i + l] = static_cast<T>(hit ? (std::signbit(x[i + l]) ? -1 : 1) : 0);
    }
  }
}

template <ternary_code T>
inline void ternary_decode_values(T const* codes, std::size_t from, std::size_t to, float scale, float* x) noexcept {
  for (auto i = from; i < to; ++i) x[i] = scale * static_cast<float>(codes[i]);
}

}  // namespace detail
}  // namespace gradpress::kernel
