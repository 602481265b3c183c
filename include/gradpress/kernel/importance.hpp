// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Entries drawn with probabilities in proportion to their magnitudes, but at most 1: p[i] = min(1, |x[i]| / cap).

#include <gradpress/core/philox.hpp>
#include <gradpress/core/types.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/launch.hpp>

#include <cmath>

namespace gradpress::kernel {

/// What a cap makes of a vector: how many entries reach it, and the sums of |x| and x^2 over those that do not.
struct capped_sums {
  std::size_t certain = 0;
  double rest = 0, rest_squared = 0;
  std::uint32_t largest = 0;  ///< magnitude of the largest entry of all
};

/// Elements of a chunk, a multiple of the four that share a block of random numbers.
inline constexpr std::size_t importance_grain = 32768;
[[nodiscard]] constexpr std::size_t importance_chunks(std::size_t n) noexcept {
  return (n + importance_grain - 1) / importance_grain;
}

namespace detail {

inline capped_sums sum_capped(float const* x, std::size_t n, std::uint32_t cap) noexcept {
  capped_sums s;
  double sum[4] = {}, squares[4] = {};
  auto const add = [&](float v, std::size_t lane) {
    auto const m = magnitude(v);
    s.largest = std::max(s.largest, m);
    s.certain += m >= cap ? 1u : 0u;
    auto const below = m >= cap ? 0. : static_cast<double>(std::fabs(v));
    sum[lane] += below;
    squares[lane] += below * below;
  };
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (std::size_t l = 0; l < 4; ++l) add(x[i + l], l);
  for (std::size_t l = 0; i + l < n; ++l) add(x[i + l], l);
  s.rest = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  s.rest_squared = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  return s;
}

/// Draws among x[begin .. end), begin a multiple of 4; writes positions and what is sent, and returns their number.
inline std::size_t draw_capped(float const* x, std::size_t begin, std::size_t end, float cap, key k, index_t* kept,
                               float* values) noexcept {
  auto const sure = magnitude(cap);
  auto const scale = 0x1p32 / static_cast<double>(cap);
  std::size_t hits = 0;
  for (auto i = begin; i < end; i += 4) {
    auto const four = std::min<std::size_t>(4, end - i);
    bool draws = false;
    for (std::size_t l = 0; l < four; ++l) draws |= magnitude(x[i + l]) - 1 < sure - 1;
    auto const random = draws ? philox(k.value, i / 4) : philox_block{};
    for (std::size_t l = 0; l < four; ++l) {
      auto const v = x[i + l];
      bool const certain = magnitude(v) >= sure;
      if (!certain && random.word[l] >= static_cast<std::uint64_t>(std::fabs(v) * scale)) continue;
      kept[hits] = static_cast<index_t>(i + l);
      values[hits++] = certain ? v : std::copysign(cap, v);
    }
  }
  return hits;
}

}  // namespace detail

/// The sums for a cap > 0, which may be infinite. `partial` is importance_chunks(n) entries of workspace.
///
/// - Order   sums are formed in double, chunk by chunk: no dependence on threads.
/// - Cost    one read of x.
template <class Exec>
capped_sums sum_capped(Exec const& exec, float const* x, std::size_t n, float cap, capped_sums* partial) {
  for_ranges(exec, "gradpress::kernel::sum_capped", n, importance_grain, [&](std::size_t from, std::size_t to) {
    partial[from / importance_grain] = detail::sum_capped(x + from, to - from, magnitude(cap));
  });
  capped_sums all;
  for (std::size_t c = 0; c < importance_chunks(n); ++c) {
    all.certain += partial[c].certain;
    all.rest += partial[c].rest;
    all.rest_squared += partial[c].rest_squared;
    all.largest = std::max(all.largest, partial[c].largest);
  }
  return all;
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
  for_ranges(exec, "gradpress::kernel::draw_capped", n, importance_grain, [&](std::size_t from, std::size_t to) {
    counts[from / importance_grain] = detail::draw_capped(x, from, to, cap, k, kept + from, values + from);
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

}  // namespace gradpress::kernel
