// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The integer block codec with AVX-512 and AVX2, bit for bit what portable/stochastic_int.hpp gives.
///
/// Only blocks of ordinary size take the vector path: there no clamp is needed, and the conversion instruction rounds
/// as `int_code` does. Tails of less than 64 elements and the other blocks go the portable way.

#include <gradpress/kernel/portable/stochastic_int.hpp>
#include <gradpress/kernel/x86/philox.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// Magnitudes of 16 elements.
GRADPRESS_AVX512_PIECE __m512i int_magnitudes_avx512(float const* g, float const* e, float* a) {
  read_ahead(g);
  auto v = _mm512_loadu_ps(g);
  if (e) {
    read_ahead(e);
    v = _mm512_add_ps(v, _mm512_loadu_ps(e));
  }
  if (a) _mm512_storeu_ps(a, v);
  return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}
/// The largest magnitude of g + e, as bits; if a is not null the sums go there. Without a there is no e either.
GRADPRESS_AVX512 inline std::uint32_t int_top_avx512(float const* g, float const* e, float* a, std::size_t m) {
  auto top = _mm512_setzero_si512();
  std::size_t i = 0;
  if (!a)
    for (; i + 16 <= m; i += 16) top = _mm512_max_epu32(top, int_magnitudes_avx512(g + i, nullptr, nullptr));
  else if (e)
    for (; i + 16 <= m; i += 16) top = _mm512_max_epu32(top, int_magnitudes_avx512(g + i, e + i, a + i));
  auto const left = a ? add_into(g + i, e ? e + i : e, a + i, m - i) : g + i;
  return std::max(_mm512_reduce_max_epu32(top), top_magnitude(left, m - i));
}

/// Codes of 16 elements, as 32-bit integers.
GRADPRESS_AVX512_PIECE __m512i int_codes_avx512(__m512 v, __m512 inverse, std::uint8_t const* random) {
  auto const q = _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
  if (!random) return q;
  auto const r = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<__m128i const*>(random)));
  return _mm512_srai_epi32(_mm512_add_epi32(q, r), 8);
}
/// The same, as bytes; writes what is left of the values.
GRADPRESS_AVX512_PIECE __m128i int_quantize_avx512(float const* a, __m512 inverse, __m512 scale,
                                                   std::uint8_t const* random, float* rest, bool streaming) {
  auto const v = _mm512_loadu_ps(a);
  auto const q = int_codes_avx512(v, inverse, random);
  if (rest) {
    auto const left = _mm512_sub_ps(v, _mm512_mul_ps(_mm512_cvtepi32_ps(q), scale));
    if (streaming)
      _mm512_stream_ps(rest, left);
    else
      _mm512_storeu_ps(rest, left);
  }
  return _mm512_cvtepi32_epi8(q);
}

/// 64 codes into their bits.
GRADPRESS_AVX512_PIECE void int_pack_avx512(__m512i q, int bits, std::byte* out) {
  if (bits == 8) {
    _mm512_storeu_si512(out, q);
  } else if (bits == 4) {
    auto const pairs = _mm512_maddubs_epi16(_mm512_and_si512(q, _mm512_set1_epi8(15)), _mm512_set1_epi16(0x1001));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi16_epi8(pairs));
  } else {
    auto const pairs = _mm512_maddubs_epi16(_mm512_and_si512(q, _mm512_set1_epi8(3)), _mm512_set1_epi16(0x0401));
    auto const fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00100001));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(fours));
  }
}

GRADPRESS_AVX512 inline void int_values_avx512(int_encoding const& s, philox_rounds const& k, int_step const& step,
                                               float const* a, std::size_t at, std::size_t m, bool streaming) {
  alignas(64) std::uint8_t random[256];
  auto const inverse = _mm512_set1_ps(step.inverse), scale = _mm512_set1_ps(step.scale);
  std::size_t i = 0;
  for (; i + 64 <= m; i += 64) {
    if (s.stochastic && i % 256 == 0) philox16_avx512(k, (at + i) / 16, random);
    auto const* const r = s.stochastic ? random + i % 256 : nullptr;
    float* const rest = s.rest ? s.rest + at + i : nullptr;
    auto q = _mm512_castsi128_si512(int_quantize_avx512(a + i, inverse, scale, r, rest, streaming));
    q = _mm512_inserti32x4(
        q, int_quantize_avx512(a + i + 16, inverse, scale, r ? r + 16 : r, rest ? rest + 16 : rest, streaming), 1);
    q = _mm512_inserti32x4(
        q, int_quantize_avx512(a + i + 32, inverse, scale, r ? r + 32 : r, rest ? rest + 32 : rest, streaming), 2);
    q = _mm512_inserti32x4(
        q, int_quantize_avx512(a + i + 48, inverse, scale, r ? r + 48 : r, rest ? rest + 48 : rest, streaming), 3);
    int_pack_avx512(q, s.bits, s.code(at + i));
  }
  if (i < m) int_encode_values(s, step, a + i, at + i, m - i);
}

GRADPRESS_AVX512 inline bool int_encode_block_avx512(int_encoding const& s, philox_rounds const& k, std::size_t b) {
  alignas(64) float room[block_room];
  auto const at = b * s.in.block, m = s.in.size(b);
  float* const sum = !s.rest ? nullptr : m <= block_room ? room : s.rest + at;
  auto const top = int_top_avx512(s.g + at, s.e ? s.e + at : s.e, sum, m);
  auto const step = make_int_step(top, s.bits, s.stochastic);
  store(s.scales + 4 * b, step.scale);
  float const* const a = sum ? sum : s.g + at;
  if (step.plain)
    int_values_avx512(s, k, step, a, at, m, s.streaming && sum == room);
  else
    int_encode_values(s, step, a, at, m);
  return top < 0x7f800000u;
}

/// 16 values from their bits.
GRADPRESS_AVX512_PIECE __m512 int_value16_avx512(std::byte const* code, int bits, __m512 scale) {
  __m512i q;
  if (bits == 8) {
    q = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(code)));
  } else if (bits == 4) {
    auto const words = _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(code)));
    auto const word =
        _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), words);
    auto const shift = _mm512_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    q = _mm512_srai_epi32(_mm512_sllv_epi32(word, shift), 28);
  } else {
    int word;
    std::memcpy(&word, code, sizeof word);
    auto const shift = _mm512_setr_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    q = _mm512_srai_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(word), shift), 30);
  }
  return _mm512_mul_ps(_mm512_cvtepi32_ps(q), scale);
}

GRADPRESS_AVX512 inline void int_decode_block_avx512(int_decoding const& s, std::size_t b) {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const factor = s.factor * load_float(s.scales + 4 * b);
  auto const scale = _mm512_set1_ps(factor);
  std::size_t i = 0;
  for (; i + 16 <= m; i += 16) {
    auto v = int_value16_avx512(s.code(at + i), s.bits, scale);
    float* const x = s.x + at + i;
    if (s.add) v = _mm512_add_ps(_mm512_loadu_ps(x), v);
    if (s.streaming)
      _mm512_stream_ps(x, v);
    else
      _mm512_storeu_ps(x, v);
  }
  if (i < m) int_decode_values(s, factor, at + i, m - i);
}

/// Magnitudes of 8 elements of g + e; the sums go to a. Or of g alone.
template <bool Sum>
GRADPRESS_AVX2_PIECE __m256i int_magnitudes_avx2(float const* g, float const* e, float* a, std::size_t i) {
  auto v = _mm256_loadu_ps(g + i);
  if constexpr (Sum) {
    v = _mm256_add_ps(v, _mm256_loadu_ps(e + i));
    _mm256_storeu_ps(a + i, v);
  }
  return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}
template <bool Sum>
GRADPRESS_AVX2 inline std::uint32_t int_top_avx2(float const* g, float const* e, float* a, std::size_t m) {
  auto top = _mm256_setzero_si256(), other = top;
  std::size_t i = 0;
  for (; i + 16 <= m; i += 16) {
    if (m > block_room) {  // nobody has asked for it yet
      read_ahead(g + i);
      if (Sum) read_ahead(e + i);
    }
    top = _mm256_max_epu32(top, int_magnitudes_avx2<Sum>(g, e, a, i));
    other = _mm256_max_epu32(other, int_magnitudes_avx2<Sum>(g, e, a, i + 8));
  }
  alignas(32) std::uint32_t lane[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), _mm256_max_epu32(top, other));
  auto const left = Sum ? add_into(g + i, e + i, a + i, m - i) : g + i;
  return std::max(*std::max_element(lane, lane + 8), top_magnitude(left, m - i));
}

/// Where what is left of the values goes.
enum class int_rest { nowhere, memory, around_caches };

/// Codes of 8 elements, as 32-bit integers; writes what is left of the values.
template <bool Stochastic, int_rest Rest>
GRADPRESS_AVX2_PIECE __m256i int_quantize_avx2(float const* a, __m256 inverse, __m256 scale, std::uint8_t const* random,
                                               float* rest, std::size_t i) {
  auto const v = _mm256_loadu_ps(a + i);
  auto q = _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse));
  if constexpr (Stochastic) {
    auto const r = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(random + i % 256)));
    q = _mm256_srai_epi32(_mm256_add_epi32(q, r), 8);
  }
  if constexpr (Rest != int_rest::nowhere) {
    auto const left = _mm256_sub_ps(v, _mm256_mul_ps(_mm256_cvtepi32_ps(q), scale));
    if constexpr (Rest == int_rest::around_caches)
      _mm256_stream_ps(rest + i, left);
    else
      _mm256_storeu_ps(rest + i, left);
  }
  return q;
}

/// 32 codes into their bits.
GRADPRESS_AVX2_PIECE void int_pack_avx2(__m256i q, int bits, std::byte* out) {
  if (bits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), q);
  } else if (bits == 4) {
    auto const pairs = _mm256_maddubs_epi16(_mm256_and_si256(q, _mm256_set1_epi8(15)), _mm256_set1_epi16(0x1001));
    auto const packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(packed));
  } else {
    auto const pairs = _mm256_maddubs_epi16(_mm256_and_si256(q, _mm256_set1_epi8(3)), _mm256_set1_epi16(0x0401));
    auto const fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
    auto const bytes =
        _mm256_shuffle_epi8(fours, _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                                    0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
  }
}

/// Asks for 32 elements of the block after the one that is being coded. The codes take longer to compute than the values
/// to arrive, so that reading costs nothing where it is spread over that time.
GRADPRESS_AVX2_PIECE void int_read_ahead_avx2(float const* g, float const* e) {
  __builtin_prefetch(g), __builtin_prefetch(g + 16);
  if (e) __builtin_prefetch(e), __builtin_prefetch(e + 16);
}

template <bool Stochastic, int_rest Rest>
GRADPRESS_AVX2 inline void int_values_avx2(int_encoding const& s, philox_rounds const& k, int_step const& step,
                                           float const* a, std::size_t at, std::size_t m) {
  alignas(64) std::uint8_t random[256];
  auto const inverse = _mm256_set1_ps(step.inverse), scale = _mm256_set1_ps(step.scale);
  auto const order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  auto const bits = s.bits;
  auto const* const g = s.g + at + m;
  auto const* const e = s.e ? s.e + at + m : nullptr;
  float* const rest = Rest == int_rest::nowhere ? nullptr : s.rest + at;
  auto* out = s.code(at);
  std::size_t i = 0;
  for (; i + 32 <= m; i += 32, out += 4 * bits) {
    int_read_ahead_avx2(g + i, e ? e + i : e);
    if (Stochastic && i % 256 == 0) philox16_avx2(k, (at + i) / 16, random);
    auto const q0 = int_quantize_avx2<Stochastic, Rest>(a, inverse, scale, random, rest, i);
    auto const q1 = int_quantize_avx2<Stochastic, Rest>(a, inverse, scale, random, rest, i + 8);
    auto const q2 = int_quantize_avx2<Stochastic, Rest>(a, inverse, scale, random, rest, i + 16);
    auto const q3 = int_quantize_avx2<Stochastic, Rest>(a, inverse, scale, random, rest, i + 24);
    auto const q = _mm256_packs_epi16(_mm256_packs_epi32(q0, q1), _mm256_packs_epi32(q2, q3));
    int_pack_avx2(_mm256_permutevar8x32_epi32(q, order), bits, out);
  }
  if (i < m) int_encode_values(s, step, a + i, at + i, m - i);
}
template <bool Stochastic>
GRADPRESS_AVX2 inline void int_values_avx2(int_encoding const& s, philox_rounds const& k, int_step const& step,
                                           float const* a, std::size_t at, std::size_t m, bool streaming) {
  if (!s.rest)
    int_values_avx2<Stochastic, int_rest::nowhere>(s, k, step, a, at, m);
  else if (streaming)
    int_values_avx2<Stochastic, int_rest::around_caches>(s, k, step, a, at, m);
  else
    int_values_avx2<Stochastic, int_rest::memory>(s, k, step, a, at, m);
}

GRADPRESS_AVX2 inline bool int_encode_block_avx2(int_encoding const& s, philox_rounds const& k, std::size_t b) {
  alignas(64) float room[block_room];
  auto const at = b * s.in.block, m = s.in.size(b);
  float* const sum = !s.e ? nullptr : m <= block_room ? room : s.rest + at;
  auto const top =
      sum ? int_top_avx2<true>(s.g + at, s.e + at, sum, m) : int_top_avx2<false>(s.g + at, nullptr, nullptr, m);
  auto const step = make_int_step(top, s.bits, s.stochastic);
  store(s.scales + 4 * b, step.scale);
  float const* const a = sum ? sum : s.g + at;
  bool const streaming = s.streaming && a != s.rest + at;
  if (!step.plain)
    int_encode_values(s, step, a, at, m);
  else if (s.stochastic)
    int_values_avx2<true>(s, k, step, a, at, m, streaming);
  else
    int_values_avx2<false>(s, k, step, a, at, m, streaming);
  return top < 0x7f800000u;
}

/// 8 values from their bits.
GRADPRESS_AVX2_PIECE __m256 int_value8_avx2(std::byte const* code, int bits, __m256 scale) {
  __m256i q;
  if (bits == 8) {
    q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(code)));
  } else if (bits == 4) {
    int word;
    std::memcpy(&word, code, sizeof word);
    q = _mm256_sllv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0));
    q = _mm256_srai_epi32(q, 28);
  } else {
    std::uint16_t word;
    std::memcpy(&word, code, sizeof word);
    q = _mm256_sllv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(30, 28, 26, 24, 22, 20, 18, 16));
    q = _mm256_srai_epi32(q, 30);
  }
  return _mm256_mul_ps(_mm256_cvtepi32_ps(q), scale);
}

GRADPRESS_AVX2 inline void int_decode_block_avx2(int_decoding const& s, std::size_t b) {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const factor = s.factor * load_float(s.scales + 4 * b);
  auto const scale = _mm256_set1_ps(factor);
  std::size_t i = 0;
  for (; i + 8 <= m; i += 8) {
    auto v = int_value8_avx2(s.code(at + i), s.bits, scale);
    float* const x = s.x + at + i;
    if (s.add) v = _mm256_add_ps(_mm256_loadu_ps(x), v);
    if (s.streaming)
      _mm256_stream_ps(x, v);
    else
      _mm256_storeu_ps(x, v);
  }
  if (i < m) int_decode_values(s, factor, at + i, m - i);
}

}  // namespace gradpress::kernel::detail

#endif
