// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products with thin matrices in plain C++: the reference for the other paths, and their way through tails.
///
/// A thin matrix is kept as columns ("vectors") of floats, 1, 2, 4 or 8 at a time. Several rows of the large matrix are
/// open at the same time, which keeps enough cache lines in flight, and take turns at short panels of columns, for
/// which the vectors then lie in the first cache. Products are rounded before they are added, on every path, so that a
/// machine without FMA gives the same bits.

#include <gradpress/kernel/isa.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gradpress::kernel::detail {

/// Partial sums of a sum.
inline constexpr std::size_t vector_lanes = 16;
/// Columns of a panel, a multiple of the lanes, at most.
inline constexpr std::size_t panel_cols = 256;
/// Rows that are open at the same time: six rows times four vectors are what 32 registers can hold. M^T P keeps no sums
/// of rows and can have more.
inline constexpr std::size_t open_rows = 6, open_rows_transposed = 8;

/// A product p q^T that has not been taken from e yet: of its first row and column.
struct owed_panel {
  float const* p = nullptr;
  std::size_t p_stride = 0;
  float const* q = nullptr;
  std::size_t q_stride = 0;
};

/// Rows of the large matrix, `stride` apart: m, or m + e, which is also written to `a`.
struct open_panel {
  float const* m;
  float const* e;
  float* a;
  std::size_t stride, rows;
  bool stream;  ///< write `a` around the caches; all of its rows then begin on cache lines
  std::size_t e_stride = stride;
  owed_panel owed{};
  float const* tail = nullptr;  ///< where something is owed: e less that of the columns behind whole lanes

  [[nodiscard]] open_panel from(std::size_t row, std::size_t c) const noexcept {
    auto const at = row * stride + c;
    auto rest = owed;
    if (rest.p) rest.p += row * rest.p_stride, rest.q += c;
    return {m + at, e ? e + row * e_stride + c : e, a ? a + at : a, stride, rows - row, stream, e_stride, rest};
  }
};

enum class outer_use { store, stream, subtract };
/// What happens to rows of an outer product: they are written to `to` or taken from it, after `before` has been added.
struct outer_panel {
  float* to;
  std::size_t stride, rows;
  outer_use use;
  float const* before;  ///< rows `panel_cols` apart, or null
};

/// sum[row][j][lane] += row[c] * q[j][c] for `blocks` times 16 columns, ascending; lane = c % 16. False: some m + e is
/// not finite.
using dot_function = bool(open_panel const& in, float const* q, std::size_t q_stride, std::size_t blocks, float* sum);
/// q[j][c] += m[row][c] * p[row][j], row after row.
using transposed_function = void(float const* m, std::size_t m_stride, std::size_t rows, float const* p, float* q,
                                 std::size_t q_stride, std::size_t blocks);
/// n columns of before[row][c] + p[row][0] q[0][c] + p[row][1] q[1][c] + ..., left to right; rows of p are p_stride
/// apart.
using outer_function = void(float const* p, std::size_t p_stride, float const* q, std::size_t q_stride, std::size_t n,
                            outer_panel const& out);

struct low_rank_functions {
  dot_function* dot;
  transposed_function* transposed;
  outer_function* outer;
  bool settles = false;  ///< `dot` itself takes what is owed, a product of as many vectors, from e
};

/// The tree that ends a sum over 16 lanes.
inline float sum_of_lanes(float const* lane) noexcept {
  float a[8], b[4];
  for (int l = 0; l < 8; ++l) a[l] = lane[l] + lane[l + 8];
  for (int l = 0; l < 4; ++l) b[l] = a[l] + a[l + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

/// a = g + e; false if some of it is not finite: then a difference of magnitudes wraps around.
GRADPRESS_UNFUSED inline bool sum_portable(float const* g, float const* e, std::size_t n, float* a) noexcept {
  std::uint32_t wrapped = 0;
  for (std::size_t c = 0; c < n; ++c) {
    a[c] = g[c] + e[c];
    wrapped |= 0x7f7fffffu - (std::bit_cast<std::uint32_t>(a[c]) & 0x7fffffffu);
  }
  return wrapped >> 31 == 0;
}

template <std::size_t R>
GRADPRESS_UNFUSED inline bool dot_portable(open_panel const& in, float const* q, std::size_t q_stride,
                                           std::size_t blocks, float* sum) {
  GRADPRESS_UNFUSED_BODY
  bool finite = true;
  for (std::size_t row = 0; row < in.rows; ++row, sum += R * vector_lanes) {
    auto const line = in.from(row, 0);
    if (line.a) finite &= sum_portable(line.m, line.e, blocks * vector_lanes, line.a);
    float const* const m = line.a ? line.a : line.m;
    for (std::size_t j = 0; j < R; ++j) {
      float lane[vector_lanes];
      std::memcpy(lane, sum + j * vector_lanes, sizeof lane);
      for (std::size_t b = 0; b < blocks * vector_lanes; b += vector_lanes)
        for (std::size_t l = 0; l < vector_lanes; ++l) lane[l] += m[b + l] * q[j * q_stride + b + l];
      std::memcpy(sum + j * vector_lanes, lane, sizeof lane);
    }
  }
  return finite;
}

template <std::size_t R>
GRADPRESS_UNFUSED inline void transposed_portable(float const* m, std::size_t m_stride, std::size_t rows,
                                                  float const* p, float* q, std::size_t q_stride, std::size_t blocks) {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t b = 0; b < blocks * vector_lanes; b += vector_lanes)
    for (std::size_t j = 0; j < R; ++j) {
      float lane[vector_lanes];
      std::memcpy(lane, q + j * q_stride + b, sizeof lane);
      for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t l = 0; l < vector_lanes; ++l) lane[l] += m[row * m_stride + b + l] * p[row * R + j];
      std::memcpy(q + j * q_stride + b, lane, sizeof lane);
    }
}

/// From column c on: the other paths come here for their last columns.
template <std::size_t R>
GRADPRESS_UNFUSED inline void outer_portable_from(std::size_t first, float const* p, std::size_t p_stride,
                                                  float const* q, std::size_t q_stride, std::size_t n,
                                                  outer_panel const& out) {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t row = 0; row < out.rows; ++row, p += p_stride) {
    float* __restrict const to = out.to + row * out.stride;
    float const* const before = out.before ? out.before + row * panel_cols : nullptr;
    for (auto c = first; c < n; ++c) {
      auto o = p[0] * q[c];
      if (before) o = before[c] + o;
      for (std::size_t j = 1; j < R; ++j) o += p[j] * q[j * q_stride + c];
      to[c] = out.use == outer_use::subtract ? to[c] - o : o;
    }
  }
}
template <std::size_t R>
inline void outer_portable(float const* p, std::size_t p_stride, float const* q, std::size_t q_stride, std::size_t n,
                           outer_panel const& out) {
  outer_portable_from<R>(0, p, p_stride, q, q_stride, n, out);
}

template <std::size_t R>
inline constexpr low_rank_functions low_rank_portable{dot_portable<R>, transposed_portable<R>, outer_portable<R>};

}  // namespace gradpress::kernel::detail
