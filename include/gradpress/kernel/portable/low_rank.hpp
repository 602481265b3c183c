// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products with thin matrices in plain C++: the reference for the other paths, and their way through tails.
///
/// A thin matrix is kept as columns ("vectors") of floats, 1, 2, 4 or 8 at a time. Several rows of the large matrix are
/// open at the same time, which keeps enough cache lines in flight, and take turns at short panels of columns, for which
/// the vectors then lie in the first cache. Products are rounded before they are added, on every path, so that a machine
/// without FMA gives the same bits.

#include <gradpress/kernel/isa.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gradpress::kernel::detail {

/// Columns of a panel, a multiple of the 16 lanes of a sum.
inline constexpr std::size_t panel_cols = 128;
inline constexpr std::size_t lanes = 16;
/// Rows that are open at the same time; M^T P, which keeps no sums of rows, can have more.
inline constexpr std::size_t open_rows = 4, open_rows_transposed = 8;

/// What to do with a row of an outer product.
enum class outer_use { store, stream, subtract };

/// sum[row][j][lane] += m[row][c] * q[j][c] for `blocks` times 16 columns, ascending; lane = c % 16.
using dot_function = void(float const* m, std::size_t m_stride, std::size_t rows, float const* q, std::size_t q_stride,
                          std::size_t blocks, float* sum);
/// q[j][c] += m[row][c] * p[row][j], row after row.
using transposed_function = void(float const* m, std::size_t m_stride, std::size_t rows, float const* p, float* q,
                                 std::size_t q_stride, std::size_t blocks);
/// One row: before[c] (0 if null) + p[0] q[0][c] + p[1] q[1][c] + ..., left to right, used on to[c].
using outer_function = void(float const* p, float const* q, std::size_t q_stride, std::size_t n, float const* before,
                            outer_use use, float* to);
/// to = kept = g + e; true if all of it is finite.
using sum_function = bool(float const* g, float const* e, std::size_t n, bool stream, float* to, float* kept);

struct low_rank_functions {
  dot_function* dot;
  transposed_function* transposed;
  outer_function* outer;
  sum_function* sum;
};

/// Elements before the next cache line, at most n.
inline std::size_t before_line(float const* p, std::size_t n) noexcept {
  return std::min(n, (64 - reinterpret_cast<std::uintptr_t>(p) % 64) % 64 / sizeof(float));
}

/// The tree that ends a sum over 16 lanes.
inline float sum_of_lanes(float const* lane) noexcept {
  float a[8], b[4];
  for (int l = 0; l < 8; ++l) a[l] = lane[l] + lane[l + 8];
  for (int l = 0; l < 4; ++l) b[l] = a[l] + a[l + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

template <std::size_t R>
GRADPRESS_UNFUSED inline void dot_portable(float const* m, std::size_t m_stride, std::size_t rows, float const* q,
                                           std::size_t q_stride, std::size_t blocks, float* sum) {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t row = 0; row < rows; ++row, m += m_stride, sum += R * lanes)
    for (std::size_t j = 0; j < R; ++j) {
      float lane[lanes];
      std::memcpy(lane, sum + j * lanes, sizeof lane);
      for (std::size_t b = 0; b < blocks * lanes; b += lanes)
        for (std::size_t l = 0; l < lanes; ++l) lane[l] += m[b + l] * q[j * q_stride + b + l];
      std::memcpy(sum + j * lanes, lane, sizeof lane);
    }
}

template <std::size_t R>
GRADPRESS_UNFUSED inline void transposed_portable(float const* m, std::size_t m_stride, std::size_t rows, float const* p,
                                                  float* q, std::size_t q_stride, std::size_t blocks) {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t b = 0; b < blocks * lanes; b += lanes)
    for (std::size_t j = 0; j < R; ++j) {
      float lane[lanes];
      std::memcpy(lane, q + j * q_stride + b, sizeof lane);
      for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t l = 0; l < lanes; ++l) lane[l] += m[row * m_stride + b + l] * p[row * R + j];
      std::memcpy(q + j * q_stride + b, lane, sizeof lane);
    }
}

template <std::size_t R>
GRADPRESS_UNFUSED inline void outer_portable(float const* p, float const* q, std::size_t q_stride, std::size_t n,
                                             float const* before, outer_use use, float* to) {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t c = 0; c < n; ++c) {
    auto o = p[0] * q[c];
    if (before) o = before[c] + o;
    for (std::size_t j = 1; j < R; ++j) o += p[j] * q[j * q_stride + c];
    to[c] = use == outer_use::subtract ? to[c] - o : o;
  }
}

inline bool sum_portable(float const* g, float const* e, std::size_t n, bool, float* to, float* kept) {
  std::uint32_t top = 0;
  for (std::size_t c = 0; c < n; ++c) {
    kept[c] = g[c] + e[c];
    top = std::max(top, std::bit_cast<std::uint32_t>(kept[c]) & 0x7fffffffu);
  }
  std::memcpy(to, kept, n * sizeof(float));
  return top < 0x7f800000u;
}

template <std::size_t R>
inline constexpr low_rank_functions low_rank_portable{dot_portable<R>, transposed_portable<R>, outer_portable<R>,
                                                      sum_portable};

}  // namespace gradpress::kernel::detail
