// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Casts with AVX-512 and AVX2. bf16 is rounded with integers: the instruction for it flushes denormals.

#include <gradpress/kernel/portable/cast.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

// Without optimisation gcc's intrinsic is a macro, which warns for whoever uses it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
template <class T>
GRADPRESS_AVX512_PIECE __m256i narrow16_avx512(__m512 v) {
  if constexpr (std::is_same_v<T, float16>) {
    return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    auto const u = _mm512_castps_si512(v);
    auto const odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    auto const rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  }
}
#pragma GCC diagnostic pop
template <class T>
GRADPRESS_AVX512_PIECE __m512 widen16_avx512(__m256i h) {
  if constexpr (std::is_same_v<T, float16>)
    return _mm512_cvtph_ps(h);
  else
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/// 16 elements: their codes; keeps the rest and the largest magnitude.
template <class T>
GRADPRESS_AVX512_PIECE __m256i cast16_avx512(cast_encoding<T> const& s, std::size_t i, __m512i& top) {
  read_ahead(s.g + i);
  if (s.e) read_ahead(s.e + i);
  auto v = _mm512_loadu_ps(s.g + i);
  if (s.e) v = _mm512_add_ps(v, _mm512_loadu_ps(s.e + i));
  top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
  auto const h = narrow16_avx512<T>(v);
  if (s.rest) {
    auto const left = _mm512_sub_ps(v, widen16_avx512<T>(h));
    if (s.streaming)
      _mm512_stream_ps(s.rest + i, left);
    else
      _mm512_storeu_ps(s.rest + i, left);
  }
  return h;
}
template <class T>
GRADPRESS_AVX512 inline std::uint32_t cast_encode_avx512(cast_encoding<T> const& s, std::size_t from, std::size_t to) {
  auto top = _mm512_setzero_si512();
  auto i = from;
  for (; i + 32 <= to; i += 32) {
    auto const low = cast16_avx512(s, i, top), high = cast16_avx512(s, i + 16, top);
    _mm512_storeu_si512(s.out + i, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
  return std::max(_mm512_reduce_max_epu32(top), cast_encode_values(s, i, to));
}

template <class T>
GRADPRESS_AVX512 inline void cast_decode_avx512(cast_decoding<T> const& s, std::size_t from, std::size_t to) {
  auto i = from;
  for (; i + 16 <= to; i += 16) {
    auto v = widen16_avx512<T>(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(s.in + i)));
    if (s.factor > 0) v = _mm512_add_ps(_mm512_loadu_ps(s.x + i), v);
    if (s.factor < 0) v = _mm512_sub_ps(_mm512_loadu_ps(s.x + i), v);
    if (s.streaming)
      _mm512_stream_ps(s.x + i, v);
    else
      _mm512_storeu_ps(s.x + i, v);
  }
  cast_decode_values(s, i, to);
}

template <class T>
GRADPRESS_AVX2_PIECE __m128i narrow8_avx2(__m256 v) {
  if constexpr (std::is_same_v<T, float16>) {
    return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    auto const u = _mm256_castps_si256(v);
    auto const odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    auto const rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
  }
}
template <class T>
GRADPRESS_AVX2_PIECE __m256 widen8_avx2(__m128i h) {
  if constexpr (std::is_same_v<T, float16>)
    return _mm256_cvtph_ps(h);
  else
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
template <class T>
GRADPRESS_AVX2 inline std::uint32_t cast_encode_avx2(cast_encoding<T> const& s, std::size_t from, std::size_t to) {
  auto top = _mm256_setzero_si256();
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    if (i % 16 == 0) {
      read_ahead(s.g + i);
      if (s.e) read_ahead(s.e + i);
    }
    auto v = _mm256_loadu_ps(s.g + i);
    if (s.e) v = _mm256_add_ps(v, _mm256_loadu_ps(s.e + i));
    top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)));
    auto const h = narrow8_avx2<T>(v);
    if (s.rest) {
      auto const left = _mm256_sub_ps(v, widen8_avx2<T>(h));
      if (s.streaming)
        _mm256_stream_ps(s.rest + i, left);
      else
        _mm256_storeu_ps(s.rest + i, left);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(s.out + i), h);
  }
  alignas(32) std::uint32_t lane[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), top);
  return std::max(*std::max_element(lane, lane + 8), cast_encode_values(s, i, to));
}

template <class T>
GRADPRESS_AVX2 inline void cast_decode_avx2(cast_decoding<T> const& s, std::size_t from, std::size_t to) {
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    auto v = widen8_avx2<T>(_mm_loadu_si128(reinterpret_cast<__m128i const*>(s.in + i)));
    if (s.factor > 0) v = _mm256_add_ps(_mm256_loadu_ps(s.x + i), v);
    if (s.factor < 0) v = _mm256_sub_ps(_mm256_loadu_ps(s.x + i), v);
    if (s.streaming)
      _mm256_stream_ps(s.x + i, v);
    else
      _mm256_storeu_ps(s.x + i, v);
  }
  cast_decode_values(s, i, to);
}

}  // namespace gradpress::kernel::detail

#endif
