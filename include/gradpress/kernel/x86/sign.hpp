// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The sign codec with AVX-512 and AVX2, bit for bit what portable/sign.hpp gives.

#include <gradpress/kernel/portable/sign.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// 16 elements: their signs; adds to their lanes.
GRADPRESS_AVX512_PIECE unsigned sign16_avx512(float const* g, float const* e, float* a, __m512& lanes) {
  read_ahead(g);
  auto v = _mm512_loadu_ps(g);
  if (e) {
    read_ahead(e);
    v = _mm512_add_ps(v, _mm512_loadu_ps(e));
  }
  if (a) _mm512_storeu_ps(a, v);
  lanes = _mm512_add_ps(lanes, _mm512_abs_ps(v));
  return _mm512_movepi32_mask(_mm512_castps_si512(v));
}

/// One piece: writes its words and, if a is not null, the sums; returns the sum of magnitudes. Without a there is no e.
GRADPRESS_AVX512 inline float sign_piece_avx512(float const* g, float const* e, float* a, std::size_t m,
                                                std::byte* words) {
  auto lanes = _mm512_setzero_ps();
  std::size_t i = 0;
  if (!a)
    for (; i + 32 <= m; i += 32)
      store(words + i / 8,
            sign16_avx512(g + i, nullptr, nullptr, lanes) | sign16_avx512(g + i + 16, nullptr, nullptr, lanes) << 16);
  else if (e)
    for (; i + 32 <= m; i += 32)
      store(words + i / 8,
            sign16_avx512(g + i, e + i, a + i, lanes) | sign16_avx512(g + i + 16, e + i + 16, a + i + 16, lanes) << 16);
  alignas(64) float lane[16];
  _mm512_store_ps(lane, lanes);
  if (i < m) sign_values(g + i, e ? e + i : e, a ? a + i : a, m - i, words + i / 8, lane);
  return fold16(lane);
}

GRADPRESS_AVX512 inline void sign_rest_avx512(float const* a, float scale, std::size_t m, bool streaming, float* rest) {
  auto const magnitude_bits = _mm512_set1_epi32(0x7fffffff), value = _mm512_castps_si512(_mm512_set1_ps(scale));
  std::size_t i = 0;
  for (; i + 16 <= m; i += 16) {
    auto const v = _mm512_loadu_ps(a + i);
    auto const decoded =
        _mm512_ternarylogic_epi32(magnitude_bits, value, _mm512_castps_si512(v), 0xCA);  // bitwise select
    auto const left = _mm512_sub_ps(v, _mm512_castsi512_ps(decoded));
    if (streaming)
      _mm512_stream_ps(rest + i, left);
    else
      _mm512_storeu_ps(rest + i, left);
  }
  sign_rest(a + i, scale, m - i, rest + i);
}

GRADPRESS_AVX512 inline bool sign_encode_block_avx512(sign_encoding const& s, std::size_t b) {
  alignas(64) float room[block_room];
  auto const at = b * s.in.block, m = s.in.size(b);
  float* const sum = !s.rest ? nullptr : m <= block_room ? room : s.rest + at;
  double total = 0;
  for (std::size_t i = 0; i < m; i += sign_piece)
    total += static_cast<double>(sign_piece_avx512(s.g + at + i, s.e ? s.e + at + i : s.e, sum ? sum + i : sum,
                                                   std::min(sign_piece, m - i), s.words + (at + i) / 8));
  auto const scale = put_sign_scale(s, b, total, sum ? sum : s.g + at, m);
  if (sum) sign_rest_avx512(sum, s.decoded(scale), m, s.streaming && sum == room, s.rest + at);
  return std::isfinite(scale);
}

GRADPRESS_AVX512_PIECE __m512 signed16_avx512(std::byte const* half, __m512 positive, __m512 negative) {
  __mmask16 signs;
  std::memcpy(&signs, half, sizeof signs);
  return _mm512_mask_blend_ps(signs, positive, negative);
}

GRADPRESS_AVX512 inline void sign_decode_block_avx512(sign_decoding const& s, std::size_t b) {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const scale = s.factor * load_float(s.scales + 4 * b);
  auto const positive = _mm512_set1_ps(scale), negative = _mm512_set1_ps(-scale);
  auto const* const halves = s.words + at / 8;
  float* const x = s.x + at;
  std::size_t i = 0;
  if (s.add)
    for (; i + 16 <= m; i += 16)
      _mm512_storeu_ps(x + i,
                       _mm512_add_ps(_mm512_loadu_ps(x + i), signed16_avx512(halves + i / 8, positive, negative)));
  else if (s.streaming)
    for (; i + 16 <= m; i += 16) _mm512_stream_ps(x + i, signed16_avx512(halves + i / 8, positive, negative));
  else
    for (; i + 16 <= m; i += 16) _mm512_storeu_ps(x + i, signed16_avx512(halves + i / 8, positive, negative));
  if (i < m) sign_decode_values(s, load_float(s.scales + 4 * b), at + i, m - i);
}

/// 8 elements: their signs; adds to their sums.
GRADPRESS_AVX2_PIECE unsigned sign8_avx2(float const* g, float const* e, float* a, __m256& sums) {
  auto v = _mm256_loadu_ps(g);
  if (e) v = _mm256_add_ps(v, _mm256_loadu_ps(e));
  if (a) _mm256_storeu_ps(a, v);
  sums = _mm256_add_ps(sums, _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))));
  return static_cast<unsigned>(_mm256_movemask_ps(v));
}

GRADPRESS_AVX2 inline float sign_piece_avx2(float const* g, float const* e, float* a, std::size_t m, std::byte* words) {
  auto low = _mm256_setzero_ps(), high = low;
  std::size_t i = 0;
  for (; i + 32 <= m; i += 32) {
    auto const* const f = e ? e + i : e;
    auto* const t = a ? a + i : a;
    for (std::size_t l = 0; l < 32; l += 16) {
      read_ahead(g + i + l);
      if (f) read_ahead(f + l);
    }
    auto word = sign8_avx2(g + i, f, t, low);
    word |= sign8_avx2(g + i + 8, f ? f + 8 : f, t ? t + 8 : t, high) << 8;
    word |= sign8_avx2(g + i + 16, f ? f + 16 : f, t ? t + 16 : t, low) << 16;
    word |= sign8_avx2(g + i + 24, f ? f + 24 : f, t ? t + 24 : t, high) << 24;
    store(words + i / 8, word);
  }
  alignas(32) float lane[16];
  _mm256_store_ps(lane, low);
  _mm256_store_ps(lane + 8, high);
  if (i < m) sign_values(g + i, e ? e + i : e, a ? a + i : a, m - i, words + i / 8, lane);
  return fold16(lane);
}

GRADPRESS_AVX2 inline void sign_rest_avx2(float const* a, float scale, std::size_t m, bool streaming, float* rest) {
  auto const sign_bit = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0x80000000u))),
             value = _mm256_set1_ps(scale);
  std::size_t i = 0;
  for (; i + 8 <= m; i += 8) {
    auto const v = _mm256_loadu_ps(a + i);
    auto const left = _mm256_sub_ps(v, _mm256_or_ps(value, _mm256_and_ps(v, sign_bit)));
    if (streaming)
      _mm256_stream_ps(rest + i, left);
    else
      _mm256_storeu_ps(rest + i, left);
  }
  sign_rest(a + i, scale, m - i, rest + i);
}

GRADPRESS_AVX2 inline bool sign_encode_block_avx2(sign_encoding const& s, std::size_t b) {
  alignas(64) float room[block_room];
  auto const at = b * s.in.block, m = s.in.size(b);
  float* const sum = !s.rest ? nullptr : m <= block_room ? room : s.rest + at;
  double total = 0;
  for (std::size_t i = 0; i < m; i += sign_piece)
    total += static_cast<double>(sign_piece_avx2(s.g + at + i, s.e ? s.e + at + i : s.e, sum ? sum + i : sum,
                                                 std::min(sign_piece, m - i), s.words + (at + i) / 8));
  auto const scale = put_sign_scale(s, b, total, sum ? sum : s.g + at, m);
  if (sum) sign_rest_avx2(sum, s.decoded(scale), m, s.streaming && sum == room, s.rest + at);
  return std::isfinite(scale);
}

GRADPRESS_AVX2 inline void sign_decode_block_avx2(sign_decoding const& s, std::size_t b) {
  auto const at = b * s.in.block, m = s.in.size(b);
  auto const scale = _mm256_set1_ps(s.factor * load_float(s.scales + 4 * b));
  auto const shift = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24),
             top = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  std::size_t i = 0;
  for (; i + 8 <= m; i += 8) {
    auto const signs = _mm256_set1_epi32(static_cast<int>(s.words[(at + i) / 8]));
    auto const flip = _mm256_and_si256(_mm256_sllv_epi32(signs, shift), top);
    auto v = _mm256_xor_ps(scale, _mm256_castsi256_ps(flip));
    float* const x = s.x + at + i;
    if (s.add) v = _mm256_add_ps(_mm256_loadu_ps(x), v);
    if (s.streaming)
      _mm256_stream_ps(x, v);
    else
      _mm256_storeu_ps(x, v);
  }
  if (i < m) sign_decode_values(s, load_float(s.scales + 4 * b), at + i, m - i);
}

}  // namespace gradpress::kernel::detail

#endif
