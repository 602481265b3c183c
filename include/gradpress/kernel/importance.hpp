// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Entries drawn with probabilities in proportion to their magnitudes, but at most 1: p[i] = min(1, |x[i]| / cap).

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/philox.hpp>
#include <gradpress/core/types.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/x86/philox.hpp>

#include <cmath>

namespace gradpress::kernel {

/// What a cap makes of a vector: how many entries reach it, and the sums of |x| and x^2 over those that do not.
struct capped_sums {
  std::size_t certain = 0;
  double rest = 0, rest_squared = 0;
  std::uint32_t largest = 0;  ///< magnitude of the largest entry of all
};

/// Elements of a chunk, a multiple of the 64 that get their random numbers together.
inline constexpr std::size_t importance_grain = 32768;
[[nodiscard]] constexpr std::size_t importance_chunks(std::size_t n) noexcept {
  return (n + importance_grain - 1) / importance_grain;
}

namespace detail {

/// Sums go to 8 lanes, element i to lane i mod 8, whatever the instructions: the bits do not depend on them. (Squares of
/// floats are exact in double, so that a fused multiply-add changes nothing either.)
struct capped_lanes {
  double sum[8] = {}, squares[8] = {};
  std::int32_t reach[8] = {}, top[8] = {};

  [[nodiscard]] capped_sums all() const noexcept {
    capped_sums s;
    for (std::size_t l = 0; l < 8; ++l) {
      s.certain += static_cast<std::size_t>(reach[l]);
      s.rest += sum[l];
      s.rest_squared += squares[l];
      s.largest = std::max(s.largest, static_cast<std::uint32_t>(top[l]));
    }
    return s;
  }
};

/// Adds x[0, n), which goes on from a multiple of 8.
[[gnu::always_inline]] inline void add_capped_piece(float const* x, std::size_t n, std::uint32_t cap,
                                                    capped_lanes& to) noexcept {
  auto lanes = to;  // of its own, to stay in registers
  auto &sum = lanes.sum, &squares = lanes.squares;
  auto &reach = lanes.reach, &top = lanes.top;
  auto const least = static_cast<std::int32_t>(cap);
  auto const add = [&](float v, std::size_t l) {
    auto const m = static_cast<std::int32_t>(magnitude(v));
    auto const reaches = m >= least ? -1 : 0;
    top[l] = m > top[l] ? m : top[l];
    reach[l] -= reaches;
    auto const below = static_cast<double>(std::bit_cast<float>(m & ~reaches));
    sum[l] += below;
    squares[l] += below * below;
  };
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t l = 0; l < 8; ++l) add(x[i + l], l);
  for (std::size_t l = 0; i + l < n; ++l) add(x[i + l], l);
  to = lanes;
}

/// Draws among x[begin .. end), begin a multiple of 64; writes positions and what is sent, and returns their number.
/// random(b, words): the 64 words of blocks b .. b + 15.
template <class Random>
[[gnu::always_inline]] inline std::size_t draw_capped_chunk(float const* x, std::size_t begin, std::size_t end,
                                                            float cap, Random const& random, index_t* kept,
                                                            float* values) noexcept {
  auto const sure = magnitude(cap);
  auto const scale = 0x1p32 / static_cast<double>(cap);
  alignas(64) std::uint32_t word[64];
  std::size_t hits = 0;
  for (auto i = begin; i < end; i += 64) {
    auto const some = std::min<std::size_t>(64, end - i);
    bool draws = false;
    for (std::size_t l = 0; l < some; ++l) draws |= magnitude(x[i + l]) - 1 < sure - 1;  // uncertain, and not zero
    if (draws) random(i / 4, word);
    for (std::size_t l = 0; l < some; ++l) {
      auto const v = x[i + l];
      bool const certain = magnitude(v) >= sure;
      // word < floor(2^32 p), without the floor
      if (!certain && !(draws && static_cast<double>(word[l]) + 1 <= static_cast<double>(std::fabs(v)) * scale))
        continue;
      kept[hits] = static_cast<index_t>(i + l);
      values[hits++] = certain ? v : std::copysign(cap, v);
    }
  }
  return hits;
}

#if GRADPRESS_X86
GRADPRESS_AVX2 inline void add_capped_avx2(float const* x, std::size_t n, std::uint32_t cap,
                                           capped_lanes& to) noexcept {
  add_capped_piece(x, n, cap, to);
}
GRADPRESS_AVX512 inline void add_capped_avx512(float const* x, std::size_t n, std::uint32_t cap,
                                               capped_lanes& to) noexcept {
  add_capped_piece(x, n, cap, to);
}
#endif
inline void add_capped([[maybe_unused]] isa how, float const* x, std::size_t n, std::uint32_t cap,
                       capped_lanes& to) noexcept {
#if GRADPRESS_X86
  if (how == isa::avx512) return add_capped_avx512(x, n, cap, to);
  if (how == isa::avx2) return add_capped_avx2(x, n, cap, to);
#endif
  add_capped_piece(x, n, cap, to);
}
inline capped_sums sum_chunks(capped_sums const* partial, std::size_t chunks) noexcept {
  capped_sums all;
  for (std::size_t c = 0; c < chunks; ++c) {
    all.certain += partial[c].certain;
    all.rest += partial[c].rest;
    all.rest_squared += partial[c].rest_squared;
    all.largest = std::max(all.largest, partial[c].largest);
  }
  return all;
}

inline std::size_t draw_capped([[maybe_unused]] isa how, float const* x, std::size_t begin, std::size_t end, float cap,
                               key k, index_t* kept, float* values) noexcept {
#if GRADPRESS_X86
  philox_rounds const rounds(k.value);
  if (how == isa::avx512)
    return draw_capped_chunk(
        x, begin, end, cap, [&](std::uint64_t b, std::uint32_t* to) { philox16_avx512(rounds, b, to); }, kept, values);
  if (how == isa::avx2)
    return draw_capped_chunk(
        x, begin, end, cap, [&](std::uint64_t b, std::uint32_t* to) { philox16_avx2(rounds, b, to); }, kept, values);
#endif
  return draw_capped_chunk(
      x, begin, end, cap,
      [&](std::uint64_t b, std::uint32_t* to) {
        for (unsigned j = 0; j < 16; ++j) {
          auto const four = philox(k.value, b + j);
          std::memcpy(to + 4 * j, four.word, sizeof four.word);
        }
      },
      kept, values);
}

}  // namespace detail

/// The sums for a cap > 0, which may be infinite. `partial` is importance_chunks(n) entries of workspace.
///
/// - Order   sums are formed in double, chunk by chunk: no dependence on threads.
/// - Cost    one read of x.
template <class Exec>
capped_sums sum_capped(Exec const& exec, float const* x, std::size_t n, float cap, capped_sums* partial) {
  auto const how = current_isa();
  for_ranges(exec, "gradpress::kernel::sum_capped", n, importance_grain, [&](std::size_t from, std::size_t to) {
    detail::capped_lanes lanes;
    detail::add_capped(how, x + from, to - from, magnitude(cap), lanes);
    partial[from / importance_grain] = lanes.all();
  });
  return detail::sum_chunks(partial, importance_chunks(n));
}

/// Draws entry i with probability p[i] = min(1, |x[i]| / cap), each on its own, and sends x[i] / p[i]: x[i] where that
/// is certain, else cap with its sign.
///
/// - Shape   kept, values: room for n, of which little more than what is kept is touched. counts: importance_chunks(n).
/// - Order   indices ascend. Element i uses word i mod 4 of block i div 4 of the key's stream.
/// - Edges   0 < cap < infinity; zeros are never drawn. Probabilities are multiples of 2^-32, rounded down.
/// - Cost    one read of x, and a block of random numbers for every four entries that are not certain.
/// Returns the number kept.
template <class Exec>
std::size_t draw_capped(Exec const& exec, float const* x, std::size_t n, float cap, key k, index_t* kept, float* values,
                        std::size_t* counts) {
  auto const how = current_isa();
  for_ranges(exec, "gradpress::kernel::draw_capped", n, importance_grain, [&](std::size_t from, std::size_t to) {
    counts[from / importance_grain] = detail::draw_capped(how, x, from, to, cap, k, kept + from, values + from);
  });
  std::size_t total = 0;
  for (std::size_t c = 0; c < importance_chunks(n); total += counts[c++]) {
    auto const from = c * importance_grain;
    if (total == from) continue;
    std::memmove(kept + total, kept + from, counts[c] * sizeof(index_t));
    std::memmove(values + total, values + from, counts[c] * sizeof(float));
  }
  return total;
}

GRADPRESS_ONCE(sum_capped);
GRADPRESS_ONCE(draw_capped);

}  // namespace gradpress::kernel
