// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Momentum and what gathers it, with AVX-512 and AVX2, bit for bit what portable/momentum.hpp gives.

#include <gradpress/kernel/portable/momentum.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

// A rounded product: the compiler sees no product any more that it could fuse with a sum.
GRADPRESS_AVX512_PIECE __m512 rounded_product16(__m512 a, __m512 b) {
  auto x = _mm512_mul_ps(a, b);
  asm("" : "+v"(x));
  return x;
}
GRADPRESS_AVX2_PIECE __m256 rounded_product8(__m256 a, __m256 b) {
  auto x = _mm256_mul_ps(a, b);
  asm("" : "+x"(x));
  return x;
}

template <bool Nesterov>
GRADPRESS_AVX512 inline void momentum_range_avx512(momentum_pass const& s, std::size_t from, std::size_t to,
                                                   float* next, float* a) {
  auto const mu = _mm512_set1_ps(s.mu), scale = _mm512_set1_ps(s.scale);
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    read_ahead(s.g + i), read_ahead(s.u + i), read_ahead(s.v + i);
    auto const c = rounded_product16(scale, _mm512_loadu_ps(s.g + i)), u = _mm512_loadu_ps(s.u + i);
    auto const moved =
        Nesterov ? rounded_product16(mu, _mm512_add_ps(u, c)) : _mm512_add_ps(rounded_product16(mu, u), c);
    auto const sum = _mm512_add_ps(_mm512_loadu_ps(s.v + i), moved);
    _mm512_storeu_ps(next + (i - from), moved);
    _mm512_storeu_ps(a + (i - from), Nesterov ? _mm512_add_ps(sum, c) : sum);
  }
  momentum_range<Nesterov>(s, i, to, next + (i - from), a + (i - from));
}
template <bool Nesterov>
GRADPRESS_AVX512 inline void mask_range_avx512(momentum_pass const& s, float const* rest, std::size_t from,
                                               std::size_t to, float* next) {
  auto const scale = _mm512_set1_ps(s.scale);
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    read_ahead(s.v + i), read_ahead(rest + i), read_ahead(next + i);
    auto const moved = _mm512_loadu_ps(next + i);
    auto sum = _mm512_add_ps(_mm512_loadu_ps(s.v + i), moved);
    if (Nesterov) {
      read_ahead(s.g + i);
      sum = _mm512_add_ps(sum, rounded_product16(scale, _mm512_loadu_ps(s.g + i)));
    }
    auto const same = _mm512_cmp_ps_mask(_mm512_loadu_ps(rest + i), sum, _CMP_EQ_OQ);
    if (same != 0xffff) _mm512_storeu_ps(next + i, _mm512_maskz_mov_ps(same, moved));
  }
  mask_range<Nesterov>(s, rest, i, to, next);
}

template <bool Nesterov>
GRADPRESS_AVX2 inline void momentum_range_avx2(momentum_pass const& s, std::size_t from, std::size_t to, float* next,
                                               float* a) {
  auto const mu = _mm256_set1_ps(s.mu), scale = _mm256_set1_ps(s.scale);
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    if (i % 16 == 0) read_ahead(s.g + i), read_ahead(s.u + i), read_ahead(s.v + i);
    auto const c = rounded_product8(scale, _mm256_loadu_ps(s.g + i)), u = _mm256_loadu_ps(s.u + i);
    auto const moved = Nesterov ? rounded_product8(mu, _mm256_add_ps(u, c)) : _mm256_add_ps(rounded_product8(mu, u), c);
    auto const sum = _mm256_add_ps(_mm256_loadu_ps(s.v + i), moved);
    _mm256_storeu_ps(next + (i - from), moved);
    _mm256_storeu_ps(a + (i - from), Nesterov ? _mm256_add_ps(sum, c) : sum);
  }
  momentum_range<Nesterov>(s, i, to, next + (i - from), a + (i - from));
}
template <bool Nesterov>
GRADPRESS_AVX2 inline void mask_range_avx2(momentum_pass const& s, float const* rest, std::size_t from, std::size_t to,
                                           float* next) {
  auto const scale = _mm256_set1_ps(s.scale);
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    if (i % 16 == 0) read_ahead(s.v + i), read_ahead(rest + i), read_ahead(next + i);
    if (Nesterov && i % 16 == 0) read_ahead(s.g + i);
    auto const moved = _mm256_loadu_ps(next + i);
    auto sum = _mm256_add_ps(_mm256_loadu_ps(s.v + i), moved);
    if (Nesterov) sum = _mm256_add_ps(sum, rounded_product8(scale, _mm256_loadu_ps(s.g + i)));
    auto const same = _mm256_cmp_ps(_mm256_loadu_ps(rest + i), sum, _CMP_EQ_OQ);
    if (_mm256_movemask_ps(same) != 0xff) _mm256_storeu_ps(next + i, _mm256_and_ps(same, moved));
  }
  mask_range<Nesterov>(s, rest, i, to, next);
}

}  // namespace gradpress::kernel::detail

#endif
