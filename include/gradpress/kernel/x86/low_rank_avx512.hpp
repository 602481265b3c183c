// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products with thin matrices with AVX-512, bit for bit what portable/low_rank.hpp gives.

#include <gradpress/kernel/portable/low_rank.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// A rounded product: the compiler sees no product any more that it could fuse with a sum.
GRADPRESS_AVX512_PIECE __m512 product_avx512(__m512 a, __m512 b) {
  auto x = _mm512_mul_ps(a, b);
  asm("" : "+v"(x));
  return x;
}
/// sum + a * b, rounded twice, and here and now: GCC would rather keep all products of a loop and spill them.
GRADPRESS_AVX512_PIECE __m512 add_product_avx512(__m512 sum, __m512 a, __m512 b) {
  sum = _mm512_add_ps(sum, product_avx512(a, b));
  asm("" : "+v"(sum));
  return sum;
}
/// Eight cache lines ahead in its row.
GRADPRESS_AVX512_PIECE void prefetch_ahead_avx512(float const* p) {
  _mm_prefetch(reinterpret_cast<char const*>(p + 128), _MM_HINT_T0);
}
/// How many rows go with R vectors into 32 registers.
template <std::size_t R>
inline constexpr std::size_t rows_at_once = R == 8 ? 3 : open_rows;

/// How many where as many vectors of what is owed want registers, too.
template <std::size_t R>
inline constexpr std::size_t owed_rows_at_once = R == 4 ? 3 : open_rows;

/// Sixteen columns of one row of what is owed.
template <std::size_t R>
GRADPRESS_AVX512_PIECE __m512 owed_avx512(float const* p, owed_panel const& owed, std::size_t c) {
  auto o = product_avx512(_mm512_set1_ps(p[0]), _mm512_loadu_ps(owed.q + c));
  GRADPRESS_UNROLL
  for (std::size_t j = 1; j < R; ++j)
    o = add_product_avx512(o, _mm512_set1_ps(p[j]), _mm512_loadu_ps(owed.q + j * owed.q_stride + c));
  return o;
}
/// W rows and R vectors: W * R sums in registers.
template <std::size_t R, std::size_t W, bool Sum, bool Owed = false>
GRADPRESS_AVX512 inline bool dot_rows_avx512(open_panel const& in, float const* q, std::size_t q_stride,
                                             std::size_t blocks, float* sum) {
  __m512 lane[W][R];
  auto top = _mm512_setzero_si512();
  GRADPRESS_UNROLL
  for (std::size_t w = 0; w < W; ++w) {
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) lane[w][j] = _mm512_loadu_ps(sum + (w * R + j) * vector_lanes);
  }
  for (std::size_t b = 0; b < blocks * vector_lanes; b += vector_lanes) {
    __m512 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_loadu_ps(q + j * q_stride + b);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const at = w * in.stride + b;
      prefetch_ahead_avx512(in.m + at);
      auto x = _mm512_loadu_ps(in.m + at);
      if constexpr (Sum) {
        auto const* const e = in.e + w * in.e_stride + b;
        prefetch_ahead_avx512(e);
        auto left = _mm512_loadu_ps(e);
        if constexpr (Owed) left = _mm512_sub_ps(left, owed_avx512<R>(in.owed.p + w * in.owed.p_stride, in.owed, b));
        x = _mm512_add_ps(x, left);
        if (in.stream)
          _mm512_stream_ps(in.a + at, x);
        else
          _mm512_storeu_ps(in.a + at, x);
        top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
      }
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) lane[w][j] = add_product_avx512(lane[w][j], x, v[j]);
    }
  }
  GRADPRESS_UNROLL
  for (std::size_t w = 0; w < W; ++w) {
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) _mm512_storeu_ps(sum + (w * R + j) * vector_lanes, lane[w][j]);
  }
  return !Sum || _mm512_reduce_max_epu32(top) < 0x7f800000u;
}
template <std::size_t R, bool Sum, bool Owed = false>
GRADPRESS_AVX512 inline bool dot_all_avx512(open_panel const& in, float const* q, std::size_t q_stride,
                                            std::size_t blocks, float* sum) {
  constexpr auto W = Owed ? owed_rows_at_once<R> : rows_at_once<R>;
  bool finite = true;
  std::size_t row = 0;
  for (; row + W <= in.rows; row += W)
    finite &= dot_rows_avx512<R, W, Sum, Owed>(in.from(row, 0), q, q_stride, blocks, sum + row * R * vector_lanes);
  for (; row < in.rows; ++row)
    finite &= dot_rows_avx512<R, 1, Sum, Owed>(in.from(row, 0), q, q_stride, blocks, sum + row * R * vector_lanes);
  return finite;
}
template <std::size_t R>
GRADPRESS_AVX512 inline bool dot_avx512(open_panel const& in, float const* q, std::size_t q_stride, std::size_t blocks,
                                        float* sum) {
  if constexpr (R <= 4)
    if (in.owed.p) return dot_all_avx512<R, true, true>(in, q, q_stride, blocks, sum);
  return in.a ? dot_all_avx512<R, true>(in, q, q_stride, blocks, sum)
              : dot_all_avx512<R, false>(in, q, q_stride, blocks, sum);
}

template <std::size_t R, std::size_t W>
GRADPRESS_AVX512 inline void transposed_rows_avx512(float const* m, std::size_t m_stride, float const* p, float* q,
                                                    std::size_t q_stride, std::size_t blocks) {
  for (std::size_t b = 0; b < blocks * vector_lanes; b += vector_lanes) {
    __m512 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_loadu_ps(q + j * q_stride + b);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const* const from = m + w * m_stride + b;
      prefetch_ahead_avx512(from);
      auto const x = _mm512_loadu_ps(from);
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) v[j] = add_product_avx512(v[j], x, _mm512_set1_ps(p[w * R + j]));
    }
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) _mm512_storeu_ps(q + j * q_stride + b, v[j]);
  }
}
template <std::size_t R>
GRADPRESS_AVX512 inline void transposed_avx512(float const* m, std::size_t m_stride, std::size_t rows, float const* p,
                                               float* q, std::size_t q_stride, std::size_t blocks) {
  if (rows == open_rows_transposed)
    return transposed_rows_avx512<R, open_rows_transposed>(m, m_stride, p, q, q_stride, blocks);
  for (std::size_t row = 0; row < rows; ++row)
    transposed_rows_avx512<R, 1>(m + row * m_stride, m_stride, p + row * R, q, q_stride, blocks);
}

template <std::size_t R, std::size_t W>
GRADPRESS_AVX512 inline void outer_rows_avx512(float const* p, std::size_t p_stride, float const* q,
                                               std::size_t q_stride, std::size_t n, outer_panel const& out) {
  __m512 factor[W][R];
  GRADPRESS_UNROLL
  for (std::size_t w = 0; w < W; ++w) {
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) factor[w][j] = _mm512_set1_ps(p[w * p_stride + j]);
  }
  for (std::size_t c = 0; c + vector_lanes <= n; c += vector_lanes) {
    __m512 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_loadu_ps(q + j * q_stride + c);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      float* const to = out.to + w * out.stride + c;
      auto o = product_avx512(factor[w][0], v[0]);
      if (out.before) o = _mm512_add_ps(_mm512_loadu_ps(out.before + w * panel_cols + c), o);
      GRADPRESS_UNROLL
      for (std::size_t j = 1; j < R; ++j) o = add_product_avx512(o, factor[w][j], v[j]);
      if (out.use == outer_use::stream)
        _mm512_stream_ps(to, o);
      else if (out.use == outer_use::store)
        _mm512_storeu_ps(to, o);
      else {
        prefetch_ahead_avx512(to);
        _mm512_storeu_ps(to, _mm512_sub_ps(_mm512_loadu_ps(to), o));
      }
    }
  }
}
/// Of `out`, from row `row` on.
inline outer_panel outer_from(outer_panel const& out, std::size_t row) noexcept {
  return {out.to + row * out.stride, out.stride, out.rows - row, out.use,
          out.before ? out.before + row * panel_cols : nullptr};
}
template <std::size_t R>
GRADPRESS_AVX512 inline void outer_avx512(float const* p, std::size_t p_stride, float const* q, std::size_t q_stride,
                                          std::size_t n, outer_panel const& out) {
  constexpr auto W = rows_at_once<R>;
  std::size_t row = 0;
  for (; row + W <= out.rows; row += W)
    outer_rows_avx512<R, W>(p + row * p_stride, p_stride, q, q_stride, n, outer_from(out, row));
  for (; row < out.rows; ++row)
    outer_rows_avx512<R, 1>(p + row * p_stride, p_stride, q, q_stride, n, outer_from(out, row));
  outer_portable_from<R>(n / vector_lanes * vector_lanes, p, p_stride, q, q_stride, n, out);
}

template <std::size_t R>
inline constexpr low_rank_functions low_rank_avx512{dot_avx512<R>, transposed_avx512<R>, outer_avx512<R>, R <= 4};

}  // namespace gradpress::kernel::detail

#endif
