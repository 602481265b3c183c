// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Ternary codes with AVX-512 and AVX2.

#include <gradpress/kernel/portable/ternary.hpp>
#include <gradpress/kernel/x86/philox.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

template <ternary_code T>
GRADPRESS_AVX512 inline void ternary_encode_avx512(ternary_encoding<T> const& s, std::size_t from, std::size_t to) {
  philox_rounds const k(s.key);
  alignas(64) std::uint32_t random[64];
  auto const divisor = _mm512_set1_ps(s.scale), two24 = _mm512_set1_ps(0x1p24f);
  auto const one = _mm512_set1_epi32(1), minus_one = _mm512_set1_epi32(-1);
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    auto const at = (i - from) % 64;
    if (at == 0) philox16_avx512(k, i / 4, random);
    read_ahead(s.g + i);
    auto v = _mm512_loadu_ps(s.g + i);
    if (s.e) {
      read_ahead(s.e + i);
      v = _mm512_add_ps(v, _mm512_loadu_ps(s.e + i));
    }
    auto const uniform = _mm512_cvtepi32_ps(_mm512_srli_epi32(_mm512_load_si512(random + at), 8));
    auto const chance = _mm512_mul_ps(_mm512_div_ps(_mm512_abs_ps(v), divisor), two24);
    auto const hit = _mm512_cmp_ps_mask(uniform, chance, _CMP_LT_OQ);
    auto const sign = _mm512_mask_blend_epi32(_mm512_movepi32_mask(_mm512_castps_si512(v)), one, minus_one);
    auto const q = _mm512_maskz_mov_epi32(hit, sign);
    if constexpr (sizeof(T) == 1)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(s.codes + i), _mm512_cvtepi32_epi8(q));
    else
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(s.codes + i), _mm512_cvtepi32_epi16(q));
    if (s.rest) {
      auto const sign_bit = _mm512_set1_ps(-0.f);
      auto const sent = _mm512_maskz_or_ps(hit, divisor, _mm512_and_ps(v, sign_bit));
      auto const left = _mm512_sub_ps(v, sent);
      if (s.streaming)
        _mm512_stream_ps(s.rest + i, left);
      else
        _mm512_storeu_ps(s.rest + i, left);
    }
  }
  ternary_encode_values(s, i, to);
}

template <ternary_code T>
GRADPRESS_AVX512 inline void ternary_decode_avx512(T const* codes, std::size_t from, std::size_t to, float scale,
                                                   float* x) {
  auto const factor = _mm512_set1_ps(scale);
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    __m512i q;
    if constexpr (sizeof(T) == 1)
      q = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(codes + i)));
    else
      q = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(codes + i)));
    _mm512_storeu_ps(x + i, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(q)));
  }
  ternary_decode_values(codes, i, to, scale, x);
}

template <ternary_code T>
GRADPRESS_AVX2 inline void ternary_encode_avx2(ternary_encoding<T> const& s, std::size_t from, std::size_t to) {
  philox_rounds const k(s.key);
  alignas(64) std::uint32_t random[64];
  auto const divisor = _mm256_set1_ps(s.scale), two24 = _mm256_set1_ps(0x1p24f);
  auto const magnitude_bits = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    auto const at = (i - from) % 64;
    if (at == 0) philox16_avx2(k, i / 4, random);
    if (i % 16 == 0) {
      read_ahead(s.g + i);
      if (s.e) read_ahead(s.e + i);
    }
    auto v = _mm256_loadu_ps(s.g + i);
    if (s.e) v = _mm256_add_ps(v, _mm256_loadu_ps(s.e + i));
    auto const bits = _mm256_load_si256(reinterpret_cast<__m256i const*>(random + at));
    auto const uniform = _mm256_cvtepi32_ps(_mm256_srli_epi32(bits, 8));
    auto const chance = _mm256_mul_ps(_mm256_div_ps(_mm256_and_ps(v, magnitude_bits), divisor), two24);
    auto const hit = _mm256_castps_si256(_mm256_cmp_ps(uniform, chance, _CMP_LT_OQ));
    auto const sign = _mm256_or_si256(_mm256_srai_epi32(_mm256_castps_si256(v), 31), _mm256_set1_epi32(1));
    auto const q = _mm256_and_si256(hit, sign);
    auto const words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    if constexpr (sizeof(T) == 1)
      _mm_storel_epi64(reinterpret_cast<__m128i*>(s.codes + i), _mm_packs_epi16(words, words));
    else
      _mm_storeu_si128(reinterpret_cast<__m128i*>(s.codes + i), words);
    if (s.rest) {
      auto const signed_scale = _mm256_or_ps(divisor, _mm256_andnot_ps(magnitude_bits, v));
      auto const left = _mm256_sub_ps(v, _mm256_and_ps(_mm256_castsi256_ps(hit), signed_scale));
      if (s.streaming)
        _mm256_stream_ps(s.rest + i, left);
      else
        _mm256_storeu_ps(s.rest + i, left);
    }
  }
  ternary_encode_values(s, i, to);
}

template <ternary_code T>
GRADPRESS_AVX2 inline void ternary_decode_avx2(T const* codes, std::size_t from, std::size_t to, float scale,
                                               float* x) {
  auto const factor = _mm256_set1_ps(scale);
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    __m256i q;
    if constexpr (sizeof(T) == 1)
      q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(codes + i)));
    else
      q = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(codes + i)));
    _mm256_storeu_ps(x + i, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(q)));
  }
  ternary_decode_values(codes, i, to, scale, x);
}

}  // namespace gradpress::kernel::detail

#endif
