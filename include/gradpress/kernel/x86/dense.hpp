// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One operation on every element of a range, with AVX-512 and AVX2.

#include <gradpress/kernel/portable/dense.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

template <dense_op Op>
GRADPRESS_AVX512_PIECE __m512 dense16_avx512(__m512 a, __m512 b) {
  if constexpr (Op == dense_op::add || Op == dense_op::read_sum) return _mm512_add_ps(a, b);
  if constexpr (Op == dense_op::sub) return _mm512_sub_ps(a, b);
  if constexpr (Op == dense_op::divide) return _mm512_div_ps(a, b);
  if constexpr (Op == dense_op::multiply) return _mm512_mul_ps(a, b);
  return a;
}
template <dense_op Op>
GRADPRESS_AVX512 inline std::uint32_t dense_range_avx512(dense_pass const& s, std::size_t from, std::size_t to) {
  auto const scalar = _mm512_set1_ps(s.scalar);
  auto top = _mm512_setzero_si512();
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    read_ahead(s.a + i);
    if (s.b) read_ahead(s.b + i);
    auto const v = dense16_avx512<Op>(_mm512_loadu_ps(s.a + i), s.b ? _mm512_loadu_ps(s.b + i) : scalar);
    top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
    if constexpr (dense_writes<Op>) {
      if (s.streaming)
        _mm512_stream_ps(s.out + i, v);
      else
        _mm512_storeu_ps(s.out + i, v);
    }
  }
  return std::max(_mm512_reduce_max_epu32(top), dense_range<Op>(s, i, to));
}

template <dense_op Op>
GRADPRESS_AVX2_PIECE __m256 dense8_avx2(__m256 a, __m256 b) {
  if constexpr (Op == dense_op::add || Op == dense_op::read_sum) return _mm256_add_ps(a, b);
  if constexpr (Op == dense_op::sub) return _mm256_sub_ps(a, b);
  if constexpr (Op == dense_op::divide) return _mm256_div_ps(a, b);
  if constexpr (Op == dense_op::multiply) return _mm256_mul_ps(a, b);
  return a;
}
template <dense_op Op>
GRADPRESS_AVX2 inline std::uint32_t dense_range_avx2(dense_pass const& s, std::size_t from, std::size_t to) {
  auto const scalar = _mm256_set1_ps(s.scalar);
  auto top = _mm256_setzero_si256();
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    if (i % 16 == 0) {
      read_ahead(s.a + i);
      if (s.b) read_ahead(s.b + i);
    }
    auto const v = dense8_avx2<Op>(_mm256_loadu_ps(s.a + i), s.b ? _mm256_loadu_ps(s.b + i) : scalar);
    top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)));
    if constexpr (dense_writes<Op>) {
      if (s.streaming)
        _mm256_stream_ps(s.out + i, v);
      else
        _mm256_storeu_ps(s.out + i, v);
    }
  }
  alignas(32) std::uint32_t lane[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), top);
  return std::max(*std::max_element(lane, lane + 8), dense_range<Op>(s, i, to));
}

}  // namespace gradpress::kernel::detail

#endif
