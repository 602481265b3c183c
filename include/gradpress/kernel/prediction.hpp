// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A vector as a combination of a few others: inner products, what the combination gives and what it leaves.
///
/// Products of two floats are exact in double and are added in a fixed order, so neither threads nor instructions that
/// fuse the two change a bit.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/least_squares.hpp>

namespace gradpress::kernel {

/// The sum of factor[j] x[j], j < count.
struct combination_of {
  std::array<float const*, most_terms> x{};
  std::array<float, most_terms> factor{};
  int count = 0;
};

namespace detail {

inline constexpr std::size_t prediction_block = 256;  // of nine vectors as doubles: 18 KiB, inside the first cache
inline constexpr std::size_t dot_lanes = 8;

/// Of elements [from, to) of count vectors.
GRADPRESS_UNFUSED inline inner_products dot_range(float const* const* x, int count, std::size_t from,
                                                  std::size_t to) noexcept {
  GRADPRESS_UNFUSED_BODY
  double block[most_terms + 1][prediction_block];
  inner_products all{};
  for (std::size_t at = from; at < to; at += prediction_block) {
    auto const m = std::min(prediction_block, to - at);
    for (int i = 0; i < count; ++i) {
      for (std::size_t e = 0; e < m; ++e) block[i][e] = static_cast<double>(x[i][at + e]);
      for (std::size_t e = m; e < prediction_block; ++e) block[i][e] = 0;
    }
    for (int i = 0; i < count; ++i)
      for (int j = 0; j <= i; ++j) {
        double sum[dot_lanes] = {};
        for (std::size_t e = 0; e < prediction_block; e += dot_lanes)
          for (std::size_t l = 0; l < dot_lanes; ++l) sum[l] += block[i][e + l] * block[j][e + l];
        for (auto const lane : sum) all[pair_at(i, j)] += lane;
      }
  }
  return all;
}

/// sum = the combination, elements [from, from + m), m at most a block.
GRADPRESS_UNFUSED inline void combine_block(combination_of const& c, std::size_t from, std::size_t m,
                                            double* sum) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t e = 0; e < m; ++e) sum[e] = 0;
  for (int j = 0; j < c.count; ++j) {
    auto const* const x = c.x[static_cast<std::size_t>(j)] + from;
    auto const factor = static_cast<double>(c.factor[static_cast<std::size_t>(j)]);
    for (std::size_t e = 0; e < m; ++e) sum[e] += factor * static_cast<double>(x[e]);
  }
}
/// out = g - combination; returns the sum of squares of out.
GRADPRESS_UNFUSED inline double residual_range(combination_of const& c, float const* g, float* out, std::size_t from,
                                               std::size_t to) noexcept {
  GRADPRESS_UNFUSED_BODY
  double sum[prediction_block], lanes[dot_lanes] = {};
  for (std::size_t at = from; at < to; at += prediction_block) {
    auto const m = std::min(prediction_block, to - at);
    combine_block(c, at, m, sum);
    for (std::size_t e = 0; e < m; ++e) out[at + e] = static_cast<float>(static_cast<double>(g[at + e]) - sum[e]);
    for (std::size_t e = 0; e < m; ++e) sum[e] = static_cast<double>(out[at + e]);
    for (std::size_t e = m; e < prediction_block; ++e) sum[e] = 0;
    for (std::size_t e = 0; e < prediction_block; e += dot_lanes)
      for (std::size_t l = 0; l < dot_lanes; ++l) lanes[l] += sum[e + l] * sum[e + l];
  }
  double all = 0;
  for (auto const lane : lanes) all += lane;
  return all;
}
/// out = combination + rest, where there is one, which may be out; returns the largest magnitude's bits.
GRADPRESS_UNFUSED inline std::uint32_t restore_range(combination_of const& c, float const* rest, float* out,
                                                     std::size_t from, std::size_t to) noexcept {
  GRADPRESS_UNFUSED_BODY
  double sum[prediction_block];
  std::uint32_t top = 0;
  for (std::size_t at = from; at < to; at += prediction_block) {
    auto const m = std::min(prediction_block, to - at);
    combine_block(c, at, m, sum);
    if (rest != nullptr)
      for (std::size_t e = 0; e < m; ++e) sum[e] += static_cast<double>(rest[at + e]);
    for (std::size_t e = 0; e < m; ++e) {
      out[at + e] = static_cast<float>(sum[e]);
      top = std::max(top, std::bit_cast<std::uint32_t>(out[at + e]) & 0x7fffffffu);
    }
  }
  return top;
}
/// out = ((x[0] + x[1]) + ...) / count, in float.
GRADPRESS_UNFUSED inline void mean_range(float const* const* x, std::size_t count, float* out, std::size_t from,
                                         std::size_t to) noexcept {
  GRADPRESS_UNFUSED_BODY
  auto const P = static_cast<float>(count);
  float sum[prediction_block];
  for (std::size_t at = from; at < to; at += prediction_block) {
    auto const m = std::min(prediction_block, to - at);
    for (std::size_t e = 0; e < m; ++e) sum[e] = x[0][at + e];
    for (std::size_t p = 1; p < count; ++p)
      for (std::size_t e = 0; e < m; ++e) sum[e] += x[p][at + e];
    for (std::size_t e = 0; e < m; ++e) out[at + e] = sum[e] / P;
  }
}

}  // namespace detail

/// Inner products of x[0] ... x[count - 1], at most nine vectors of n floats, in one pass. `partial` is dense_chunks(n)
/// of workspace. Not finite where a vector is not: squares of floats do not overflow in double.
template <class Exec>
inner_products dot_all(Exec const& exec, float const* const* x, int count, std::size_t n, inner_products* partial) {
  for_chunks(exec, "gradpress::kernel::dot_all", dense_chunks(n), [&](std::size_t c) {
    partial[c] = detail::dot_range(x, count, c * dense_grain, std::min(n, (c + 1) * dense_grain));
  });
  inner_products all{};
  for (std::size_t c = 0; c < dense_chunks(n); ++c)
    for (std::size_t p = 0; p < pair_at(count, 0); ++p) all[p] += partial[c][p];
  return all;
}

/// out = g - combination, rounded once; returns the squared norm of out. `partial` is dense_chunks(n) doubles.
template <class Exec>
double residual(Exec const& exec, combination_of const& c, float const* g, float* out, std::size_t n, double* partial) {
  for_chunks(exec, "gradpress::kernel::residual", dense_chunks(n), [&](std::size_t at) {
    partial[at] = detail::residual_range(c, g, out, at * dense_grain, std::min(n, (at + 1) * dense_grain));
  });
  double all = 0;
  for (std::size_t at = 0; at < dense_chunks(n); ++at) all += partial[at];
  return all;
}

/// out = combination + rest, rounded once; rest may be out, or null for none. False if out is not finite.
template <class Exec>
bool restore(Exec const& exec, combination_of const& c, float const* rest, float* out, std::size_t n) {
  std::atomic<bool> finite{true};
  for_ranges(exec, "gradpress::kernel::restore", n, dense_grain, [&](std::size_t from, std::size_t to) {
    if (detail::restore_range(c, rest, out, from, to) >= detail::infinite_magnitude)
      finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// out = the mean of count vectors, added in their order.
template <class Exec>
void mean_of(Exec const& exec, float const* const* x, std::size_t count, float* out, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::mean_of", n, dense_grain,
             [&](std::size_t from, std::size_t to) { detail::mean_range(x, count, out, from, to); });
}

GRADPRESS_ONCE(dot_all);
GRADPRESS_ONCE(residual);
GRADPRESS_ONCE(restore);
GRADPRESS_ONCE(mean_of);

}  // namespace gradpress::kernel
