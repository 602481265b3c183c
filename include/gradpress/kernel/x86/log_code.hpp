// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Look-ups of logarithmic codes with AVX2, which serves machines with AVX-512 as well: gathers are what they cost.

#include <gradpress/kernel/portable/log_code.hpp>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// Codes of the first elements of x, one each; returns how many.
GRADPRESS_AVX2 inline std::size_t log_codes_avx2(log_encoder const& t, float const* x, std::size_t m,
                                                 std::uint8_t* out) {
  if (t.shift() == 0) return 0;
  auto const base = _mm256_set1_epi32(static_cast<int>(t.base())), end = _mm256_set1_epi32(static_cast<int>(t.end())),
             inside = _mm256_set1_epi32((1 << t.shift()) - 1), zero = _mm256_setzero_si256();
  auto const shift = _mm_cvtsi32_si128(t.shift()), to_sign = _mm_cvtsi32_si128(t.bits() - 1);
  auto const* const cells = reinterpret_cast<int const*>(t.cells());
  std::size_t i = 0;
  for (; i + 8 <= m; i += 8) {
    auto const u = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(x + i));
    auto const a = _mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff));
    auto const at = _mm256_sub_epi32(_mm256_min_epu32(_mm256_max_epu32(a, base), end), base);
    auto const cell = _mm256_i32gather_epi32(cells, _mm256_srl_epi32(at, shift), 4);
    auto const before =  // the threshold
        _mm256_cmpgt_epi32(_mm256_and_si256(cell, _mm256_set1_epi32(0xffffff)), _mm256_and_si256(at, inside));
    auto const q = _mm256_add_epi32(_mm256_srli_epi32(cell, 24), _mm256_andnot_si256(before, _mm256_set1_epi32(1)));
    auto const negative = _mm256_andnot_si256(_mm256_cmpeq_epi32(q, zero), _mm256_srli_epi32(u, 31));
    auto const code = _mm256_or_si256(q, _mm256_sll_epi32(negative, to_sign));
    auto const words = _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i), _mm_packus_epi16(words, words));
  }
  return i;
}

/// Values of elements from `from` on, of which the first has the low half of its byte; returns up to where.
template <bool Add>
GRADPRESS_AVX2 inline std::size_t log_decode_avx2(log_values const& t, int bits, std::byte const* codes,
                                                  std::size_t from, std::size_t to, float* x) {
  auto i = from;
  for (; i + 8 <= to; i += 8) {
    __m256i code;
    if (bits == 4) {
      int four;
      std::memcpy(&four, codes + i / 2, sizeof four);
      code = _mm256_srlv_epi32(_mm256_set1_epi32(four), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
      code = _mm256_and_si256(code, _mm256_set1_epi32(15));
    } else {
      code = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(codes + i)));
    }
    auto v = _mm256_i32gather_ps(t.value, code, 4);
    if (Add) v = _mm256_add_ps(_mm256_loadu_ps(x + i), v);
    _mm256_storeu_ps(x + i, v);
  }
  return i;
}

}  // namespace gradpress::kernel::detail

#endif
