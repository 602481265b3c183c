// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products with thin matrices with AVX2, bit for bit what portable/low_rank.hpp gives.

#include <gradpress/kernel/portable/low_rank.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// A rounded product, and a sum with one: see the AVX-512 path for what the empty statements are for.
GRADPRESS_AVX2_PIECE __m256 product_avx2(__m256 a, __m256 b) {
  auto x = _mm256_mul_ps(a, b);
  asm("" : "+x"(x));
  return x;
}
GRADPRESS_AVX2_PIECE __m256 add_product_avx2(__m256 sum, __m256 a, __m256 b) {
  sum = _mm256_add_ps(sum, product_avx2(a, b));
  asm("" : "+x"(sum));
  return sum;
}
/// How far ahead to fetch, in floats: eight cache lines in the same row, or, where rows end before that is of much use,
/// the same place of the rows that are opened next.
[[nodiscard]] constexpr std::size_t fetch_ahead_avx2(std::size_t stride, std::size_t open) noexcept {
  return stride <= 768 ? open * stride : 128;
}
GRADPRESS_AVX2_PIECE void prefetch_avx2(float const* p) { _mm_prefetch(reinterpret_cast<char const*>(p), _MM_HINT_T0); }
/// Eight columns of one row of what is owed.
template <std::size_t R>
GRADPRESS_AVX2_PIECE __m256 owed_avx2(owed_panel const& owed, std::size_t c) {
  auto o = product_avx2(_mm256_set1_ps(owed.p[0]), _mm256_loadu_ps(owed.q + c));
  GRADPRESS_UNROLL
  for (std::size_t j = 1; j < R; ++j)
    o = add_product_avx2(o, _mm256_set1_ps(owed.p[j]), _mm256_loadu_ps(owed.q + j * owed.q_stride + c));
  return o;
}
/// One row and R <= 4 vectors: what fits into sixteen registers of half the lanes.
template <std::size_t R, bool Sum, bool Owed>
GRADPRESS_AVX2 inline bool dot_row_avx2(open_panel const& in, float const* q, std::size_t q_stride, std::size_t blocks,
                                        float* sum) {
  __m256 low[R], high[R];
  auto const ahead = fetch_ahead_avx2(in.stride, open_rows);
  float const *const next_m = in.m + ahead, *const next_e = Sum ? in.e + ahead : nullptr;
  auto top = _mm256_setzero_si256();
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j) {
    low[j] = _mm256_loadu_ps(sum + j * vector_lanes);
    high[j] = _mm256_loadu_ps(sum + j * vector_lanes + 8);
  }
  for (std::size_t b = 0; b < blocks * vector_lanes; b += vector_lanes) {
    prefetch_avx2(next_m + b);
    auto x = _mm256_loadu_ps(in.m + b), y = _mm256_loadu_ps(in.m + b + 8);
    if constexpr (Sum) {
      prefetch_avx2(next_e + b);
      auto e = _mm256_loadu_ps(in.e + b), f = _mm256_loadu_ps(in.e + b + 8);
      if constexpr (Owed) {
        e = _mm256_sub_ps(e, owed_avx2<R>(in.owed, b));
        f = _mm256_sub_ps(f, owed_avx2<R>(in.owed, b + 8));
      }
      x = _mm256_add_ps(x, e);
      y = _mm256_add_ps(y, f);
      if (in.stream) {
        _mm256_stream_ps(in.a + b, x);
        _mm256_stream_ps(in.a + b + 8, y);
      } else {
        _mm256_storeu_ps(in.a + b, x);
        _mm256_storeu_ps(in.a + b + 8, y);
      }
      auto const magnitude_bits = _mm256_set1_epi32(0x7fffffff);
      top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(x), magnitude_bits));
      top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(y), magnitude_bits));
    }
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) {
      low[j] = add_product_avx2(low[j], x, _mm256_loadu_ps(q + j * q_stride + b));
      high[j] = add_product_avx2(high[j], y, _mm256_loadu_ps(q + j * q_stride + b + 8));
    }
  }
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j, sum += vector_lanes) {
    _mm256_storeu_ps(sum, low[j]);
    _mm256_storeu_ps(sum + 8, high[j]);
  }
  auto const bad = _mm256_cmpgt_epi32(top, _mm256_set1_epi32(0x7f7fffff));
  return _mm256_testz_si256(bad, bad);
}
template <std::size_t R>
GRADPRESS_AVX2 inline bool dot_avx2(open_panel const& in, float const* q, std::size_t q_stride, std::size_t blocks,
                                    float* sum) {
  constexpr auto step = std::min<std::size_t>(R, 4);
  bool finite = true;
  for (std::size_t row = 0; row < in.rows; ++row, sum += R * vector_lanes) {
    auto line = in.from(row, 0);
    line.stream = in.stream && R == step;
    if (in.a) {
      finite &= R == step && in.owed.p ? dot_row_avx2<step, true, true>(line, q, q_stride, blocks, sum)
                                       : dot_row_avx2<step, true, false>(line, q, q_stride, blocks, sum);
      line.m = line.a;  // what is left to do reads the sums
    } else {
      dot_row_avx2<step, false, false>(line, q, q_stride, blocks, sum);
    }
    if constexpr (R != step)
      dot_row_avx2<step, false, false>(line, q + step * q_stride, q_stride, blocks, sum + step * vector_lanes);
  }
  return finite;
}

template <std::size_t R, std::size_t W>
GRADPRESS_AVX2 inline void transposed_rows_avx2(float const* m, std::size_t m_stride, float const* p, float* q,
                                                std::size_t q_stride, std::size_t blocks) {
  auto const ahead = fetch_ahead_avx2(m_stride, open_rows_transposed);
  for (std::size_t c = 0; c < blocks * vector_lanes; c += 8) {
    __m256 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm256_loadu_ps(q + j * q_stride + c);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const* const from = m + w * m_stride + c;
      prefetch_avx2(from + ahead);
      auto const x = _mm256_loadu_ps(from);
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) v[j] = add_product_avx2(v[j], x, _mm256_set1_ps(p[w * R + j]));
    }
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) _mm256_storeu_ps(q + j * q_stride + c, v[j]);
  }
}
template <std::size_t R>
GRADPRESS_AVX2 inline void transposed_avx2(float const* m, std::size_t m_stride, std::size_t rows, float const* p,
                                           float* q, std::size_t q_stride, std::size_t blocks) {
  if (rows == open_rows_transposed)
    return transposed_rows_avx2<R, open_rows_transposed>(m, m_stride, p, q, q_stride, blocks);
  for (std::size_t row = 0; row < rows; ++row)
    transposed_rows_avx2<R, 1>(m + row * m_stride, m_stride, p + row * R, q, q_stride, blocks);
}

template <std::size_t R>
GRADPRESS_AVX2 inline void outer_avx2(float const* p, std::size_t p_stride, float const* q, std::size_t q_stride,
                                      std::size_t n, outer_panel const& out) {
  for (std::size_t row = 0; row < out.rows; ++row) {
    __m256 factor[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) factor[j] = _mm256_set1_ps(p[row * p_stride + j]);
    for (std::size_t c = 0; c + 8 <= n / vector_lanes * vector_lanes; c += 8) {
      float* const to = out.to + row * out.stride + c;
      auto o = product_avx2(factor[0], _mm256_loadu_ps(q + c));
      if (out.before) o = _mm256_add_ps(_mm256_loadu_ps(out.before + row * panel_cols + c), o);
      GRADPRESS_UNROLL
      for (std::size_t j = 1; j < R; ++j) o = add_product_avx2(o, factor[j], _mm256_loadu_ps(q + j * q_stride + c));
      if (out.use == outer_use::stream)
        _mm256_stream_ps(to, o);
      else if (out.use == outer_use::store)
        _mm256_storeu_ps(to, o);
      else {
        prefetch_avx2(to + 128);
        _mm256_storeu_ps(to, _mm256_sub_ps(_mm256_loadu_ps(to), o));
      }
    }
  }
  outer_portable_from<R>(n / vector_lanes * vector_lanes, p, p_stride, q, q_stride, n, out);
}

template <std::size_t R>
inline constexpr low_rank_functions low_rank_avx2{dot_avx2<R>, transposed_avx2<R>, outer_avx2<R>, R <= 4};

}  // namespace gradpress::kernel::detail

#endif
