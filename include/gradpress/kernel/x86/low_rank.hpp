// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products with thin matrices with AVX-512 and AVX2, bit for bit what portable/low_rank.hpp gives.

#include <gradpress/kernel/portable/low_rank.hpp>

#if GRADPRESS_X86

// Small arrays of registers stay registers only if the loops over them are unrolled, which GCC does not do at -O2.
#if defined(__clang__)
#define GRADPRESS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GRADPRESS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace gradpress::kernel::detail {

/// A rounded product: the compiler sees no product any more that it could fuse with a sum.
GRADPRESS_AVX512_PIECE __m512 product_avx512(__m512 a, __m512 b) {
  auto x = _mm512_mul_ps(a, b);
  asm("" : "+v"(x));
  return x;
}
GRADPRESS_AVX2_PIECE __m256 product_avx2(__m256 a, __m256 b) {
  auto x = _mm256_mul_ps(a, b);
  asm("" : "+x"(x));
  return x;
}
/// One panel ahead.
GRADPRESS_AVX2_PIECE void prefetch_panel(float const* p) {
  _mm_prefetch(reinterpret_cast<char const*>(p + panel_cols), _MM_HINT_T0);
}

/// W rows and the first R of `width` vectors: W * R sums in registers.
template <std::size_t R, std::size_t W>
GRADPRESS_AVX512 inline void dot_rows_avx512(float const* m, std::size_t m_stride, float const* q, std::size_t q_stride,
                                             std::size_t blocks, std::size_t width, float* sum) {
  __m512 lane[W][R];
  GRADPRESS_UNROLL
  for (std::size_t w = 0; w < W; ++w) GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) lane[w][j] = _mm512_loadu_ps(sum + (w * width + j) * lanes);
  for (std::size_t b = 0; b < blocks * lanes; b += lanes) {
    __m512 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_loadu_ps(q + j * q_stride + b);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const* const p = m + w * m_stride + b;
      prefetch_panel(p);
      auto const x = _mm512_loadu_ps(p);
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) lane[w][j] = _mm512_add_ps(lane[w][j], product_avx512(x, v[j]));
    }
  }
  GRADPRESS_UNROLL
  for (std::size_t w = 0; w < W; ++w) GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) _mm512_storeu_ps(sum + (w * width + j) * lanes, lane[w][j]);
}
template <std::size_t R>
GRADPRESS_AVX512 inline void dot_avx512(float const* m, std::size_t m_stride, std::size_t rows, float const* q,
                                        std::size_t q_stride, std::size_t blocks, float* sum) {
  constexpr auto step = std::min<std::size_t>(R, 4);
  for (std::size_t j = 0; j < R; j += step, q += step * q_stride, sum += step * lanes) {
    if (rows == open_rows) dot_rows_avx512<step, open_rows>(m, m_stride, q, q_stride, blocks, R, sum);
    else
      for (std::size_t row = 0; row < rows; ++row)
        dot_rows_avx512<step, 1>(m + row * m_stride, m_stride, q, q_stride, blocks, R, sum + row * R * lanes);
  }
}

template <std::size_t R, std::size_t W>
GRADPRESS_AVX512 inline void transposed_rows_avx512(float const* m, std::size_t m_stride, float const* p, float* q,
                                                    std::size_t q_stride, std::size_t blocks) {
  for (std::size_t b = 0; b < blocks * lanes; b += lanes) {
    __m512 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_loadu_ps(q + j * q_stride + b);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const* const from = m + w * m_stride + b;
      prefetch_panel(from);
      auto const x = _mm512_loadu_ps(from);
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) v[j] = _mm512_add_ps(v[j], product_avx512(x, _mm512_set1_ps(p[w * R + j])));
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

GRADPRESS_AVX512_PIECE __mmask16 first_lanes(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

/// Where `Whole`, all sixteen lanes without a mask: masked stores are slow.
template <bool Whole>
GRADPRESS_AVX512_PIECE __m512 load_avx512(__mmask16 take, float const* from) {
  if constexpr (Whole) return _mm512_loadu_ps(from);
  else return _mm512_maskz_loadu_ps(take, from);
}
template <bool Whole>
GRADPRESS_AVX512_PIECE void store_avx512(float* to, __mmask16 take, __m512 x) {
  if constexpr (Whole) _mm512_storeu_ps(to, x);
  else _mm512_mask_storeu_ps(to, take, x);
}

/// One vector of an outer product; aligned if it is streamed.
template <std::size_t R, bool Whole>
GRADPRESS_AVX512_PIECE void outer16_avx512(__m512 const* factor, float const* q, std::size_t q_stride, float const* before,
                                           outer_use use, __mmask16 take, float* to) {
  auto o = product_avx512(factor[0], load_avx512<Whole>(take, q));
  if (before) o = _mm512_add_ps(load_avx512<Whole>(take, before), o);
  GRADPRESS_UNROLL
  for (std::size_t j = 1; j < R; ++j)
    o = _mm512_add_ps(o, product_avx512(factor[j], load_avx512<Whole>(take, q + j * q_stride)));
  if (Whole && use == outer_use::stream) return _mm512_stream_ps(to, o);
  if (use == outer_use::subtract) o = _mm512_sub_ps(load_avx512<Whole>(take, to), o);
  store_avx512<Whole>(to, take, o);
}
template <std::size_t R>
GRADPRESS_AVX512 inline void outer_avx512(float const* p, float const* q, std::size_t q_stride, std::size_t n,
                                          float const* before, outer_use use, float* to) {
  __m512 factor[R];
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j) factor[j] = _mm512_set1_ps(p[j]);
  std::size_t c = use == outer_use::stream ? before_line(to, n) : 0;
  if (c != 0) outer16_avx512<R, false>(factor, q, q_stride, before, use, first_lanes(c), to);
  for (; c + lanes <= n; c += lanes) {
    if (use == outer_use::subtract) prefetch_panel(to + c);
    outer16_avx512<R, true>(factor, q + c, q_stride, before ? before + c : nullptr, use, 0, to + c);
  }
  if (c != n) outer16_avx512<R, false>(factor, q + c, q_stride, before ? before + c : nullptr, use, first_lanes(n - c), to + c);
}

template <bool Whole>
GRADPRESS_AVX512_PIECE __m512i sum16_avx512(float const* g, float const* e, bool stream, __mmask16 take, float* to, float* kept) {
  auto const x = _mm512_add_ps(load_avx512<Whole>(take, g), load_avx512<Whole>(take, e));
  if (Whole && stream) _mm512_stream_ps(to, x);
  else store_avx512<Whole>(to, take, x);
  store_avx512<Whole>(kept, take, x);
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}
GRADPRESS_AVX512 inline bool sum_avx512(float const* g, float const* e, std::size_t n, bool stream, float* to, float* kept) {
  auto top = _mm512_setzero_si512();
  std::size_t c = stream ? before_line(to, n) : 0;
  if (c != 0) top = sum16_avx512<false>(g, e, stream, first_lanes(c), to, kept);
  for (; c + lanes <= n; c += lanes) {
    prefetch_panel(g + c);
    prefetch_panel(e + c);
    top = _mm512_max_epu32(top, sum16_avx512<true>(g + c, e + c, stream, 0, to + c, kept + c));
  }
  if (c != n) top = _mm512_max_epu32(top, sum16_avx512<false>(g + c, e + c, stream, first_lanes(n - c), to + c, kept + c));
  return _mm512_reduce_max_epu32(top) < 0x7f800000u;
}

/// Rows and columns of Q that fit into sixteen registers of half the lanes are few: one row, four columns.
template <std::size_t R>
GRADPRESS_AVX2 inline void dot_row_avx2(float const* m, float const* q, std::size_t q_stride, std::size_t blocks, float* sum) {
  __m256 low[R], high[R];
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j) {
    low[j] = _mm256_loadu_ps(sum + j * lanes);
    high[j] = _mm256_loadu_ps(sum + j * lanes + 8);
  }
  for (std::size_t b = 0; b < blocks * lanes; b += lanes) {
    prefetch_panel(m + b);
    auto const x = _mm256_loadu_ps(m + b), y = _mm256_loadu_ps(m + b + 8);
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) {
      low[j] = _mm256_add_ps(low[j], product_avx2(x, _mm256_loadu_ps(q + j * q_stride + b)));
      high[j] = _mm256_add_ps(high[j], product_avx2(y, _mm256_loadu_ps(q + j * q_stride + b + 8)));
    }
  }
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j, sum += lanes) {
    _mm256_storeu_ps(sum, low[j]);
    _mm256_storeu_ps(sum + 8, high[j]);
  }
}
template <std::size_t R>
GRADPRESS_AVX2 inline void dot_avx2(float const* m, std::size_t m_stride, std::size_t rows, float const* q,
                                    std::size_t q_stride, std::size_t blocks, float* sum) {
  constexpr auto step = std::min<std::size_t>(R, 4);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t j = 0; j < R; j += step, sum += step * lanes)
      dot_row_avx2<step>(m + row * m_stride, q + j * q_stride, q_stride, blocks, sum);
}

template <std::size_t R, std::size_t W>
GRADPRESS_AVX2 inline void transposed_rows_avx2(float const* m, std::size_t m_stride, float const* p, float* q,
                                                std::size_t q_stride, std::size_t blocks) {
  for (std::size_t c = 0; c < blocks * lanes; c += 8) {
    __m256 v[R];
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) v[j] = _mm256_loadu_ps(q + j * q_stride + c);
    GRADPRESS_UNROLL
    for (std::size_t w = 0; w < W; ++w) {
      auto const* const from = m + w * m_stride + c;
      prefetch_panel(from);
      auto const x = _mm256_loadu_ps(from);
      GRADPRESS_UNROLL
      for (std::size_t j = 0; j < R; ++j) v[j] = _mm256_add_ps(v[j], product_avx2(x, _mm256_set1_ps(p[w * R + j])));
    }
    GRADPRESS_UNROLL
    for (std::size_t j = 0; j < R; ++j) _mm256_storeu_ps(q + j * q_stride + c, v[j]);
  }
}
template <std::size_t R>
GRADPRESS_AVX2 inline void transposed_avx2(float const* m, std::size_t m_stride, std::size_t rows, float const* p, float* q,
                                           std::size_t q_stride, std::size_t blocks) {
  if (rows == open_rows_transposed)
    return transposed_rows_avx2<R, open_rows_transposed>(m, m_stride, p, q, q_stride, blocks);
  for (std::size_t row = 0; row < rows; ++row)
    transposed_rows_avx2<R, 1>(m + row * m_stride, m_stride, p + row * R, q, q_stride, blocks);
}

template <std::size_t R>
GRADPRESS_AVX2 inline void outer_avx2(float const* p, float const* q, std::size_t q_stride, std::size_t n, float const* before,
                                      outer_use use, float* to) {
  __m256 factor[R];
  GRADPRESS_UNROLL
  for (std::size_t j = 0; j < R; ++j) factor[j] = _mm256_set1_ps(p[j]);
  auto const partial_use = use == outer_use::stream ? outer_use::store : use;
  std::size_t c = use == outer_use::stream ? before_line(to, n) : 0;
  outer_portable<R>(p, q, q_stride, c, before, partial_use, to);
  for (; c + 8 <= n; c += 8) {
    auto o = product_avx2(factor[0], _mm256_loadu_ps(q + c));
    if (before) o = _mm256_add_ps(_mm256_loadu_ps(before + c), o);
    GRADPRESS_UNROLL
    for (std::size_t j = 1; j < R; ++j) o = _mm256_add_ps(o, product_avx2(factor[j], _mm256_loadu_ps(q + j * q_stride + c)));
    if (use == outer_use::subtract) {
      prefetch_panel(to + c);
      o = _mm256_sub_ps(_mm256_loadu_ps(to + c), o);
    }
    if (use == outer_use::stream) _mm256_stream_ps(to + c, o);
    else _mm256_storeu_ps(to + c, o);
  }
  outer_portable<R>(p, q + c, q_stride, n - c, before ? before + c : nullptr, partial_use, to + c);
}

GRADPRESS_AVX2 inline bool sum_avx2(float const* g, float const* e, std::size_t n, bool stream, float* to, float* kept) {
  std::size_t c = stream ? before_line(to, n) : 0;
  auto const finite = sum_portable(g, e, c, false, to, kept);
  auto top = _mm256_setzero_si256();
  for (; c + 8 <= n; c += 8) {
    prefetch_panel(g + c);
    prefetch_panel(e + c);
    auto const x = _mm256_add_ps(_mm256_loadu_ps(g + c), _mm256_loadu_ps(e + c));
    if (stream) _mm256_stream_ps(to + c, x);
    else _mm256_storeu_ps(to + c, x);
    _mm256_storeu_ps(kept + c, x);
    top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff)));
  }
  auto const bad = _mm256_cmpgt_epi32(top, _mm256_set1_epi32(0x7f7fffff));
  return _mm256_testz_si256(bad, bad) && sum_portable(g + c, e + c, n - c, false, to + c, kept + c) && finite;
}

template <std::size_t R>
inline constexpr low_rank_functions low_rank_avx512{dot_avx512<R>, transposed_avx512<R>, outer_avx512<R>, sum_avx512};
template <std::size_t R>
inline constexpr low_rank_functions low_rank_avx2{dot_avx2<R>, transposed_avx2<R>, outer_avx2<R>, sum_avx2};

}  // namespace gradpress::kernel::detail

#undef GRADPRESS_UNROLL

#endif
