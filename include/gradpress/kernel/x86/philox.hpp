// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Philox4x32-10 for several blocks at once, word for word what `philox` gives.
///
/// Every 32-bit word has a 64-bit lane to itself: a product is then one instruction and its lower half needs no
/// masking, since the next multiplication and the final shuffle look at the low 32 bits only.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/isa.hpp>

#include <cstring>

#if GRADPRESS_X86

namespace gradpress::kernel::detail {

/// The keys of the ten rounds.
struct philox_rounds {
  std::uint64_t key0[10], key1[10];

  explicit philox_rounds(std::uint64_t key) noexcept {
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int r = 0; r < 10; ++r, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) key0[r] = k0, key1[r] = k1;
  }
};

/// Blocks first ... first + 15, one by one.
inline void philox16(philox_rounds const& k, std::uint64_t first, void* out) noexcept {
  for (std::uint64_t b = 0; b < 16; ++b) {
    auto const words = philox(k.key0[0] | k.key1[0] << 32, first + b);
    std::memcpy(static_cast<char*>(out) + 16 * b, &words, 16);
  }
}

struct philox_avx512 {
  __m512i c0, c1, c2, c3;
};
/// The counters of 8 blocks; this order of lanes makes the final unpacking ascend.
GRADPRESS_AVX512_PIECE philox_avx512 philox_start_avx512(std::uint64_t first) {
  auto const c0 =
      _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(first)), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
  return {c0, _mm512_srli_epi64(c0, 32), _mm512_setzero_si512(), _mm512_setzero_si512()};
}
GRADPRESS_AVX512_PIECE philox_avx512 philox_round_avx512(philox_avx512 const& s, __m512i k0, __m512i k1) {
  auto const p0 = _mm512_mul_epu32(s.c0, _mm512_set1_epi64(0xD2511F53)),
             p1 = _mm512_mul_epu32(s.c2, _mm512_set1_epi64(0xCD9E8D57));
  return {_mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), s.c1, k0, 0x96), p1,
          _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), s.c3, k1, 0x96), p0};
}
GRADPRESS_AVX512_PIECE void philox_end_avx512(philox_avx512 const& s, char* out) {
  auto const w01 = _mm512_mask_shuffle_epi32(s.c0, 0xAAAA, s.c1, _MM_PERM_CCAA);
  auto const w23 = _mm512_mask_shuffle_epi32(s.c2, 0xAAAA, s.c3, _MM_PERM_CCAA);
  _mm512_store_si512(out, _mm512_unpacklo_epi64(w01, w23));
  _mm512_store_si512(out + 64, _mm512_unpackhi_epi64(w01, w23));
}
/// Blocks first ... first + 15 of the stream: 256 bytes to `out`, aligned to 64. Two chains, since one would mostly
/// wait.
GRADPRESS_AVX512 inline void philox16_avx512(philox_rounds const& k, std::uint64_t first, void* out) {
  auto a = philox_start_avx512(first), b = philox_start_avx512(first + 8);
  for (int r = 0; r < 10; ++r) {
    auto const k0 = _mm512_set1_epi64(static_cast<long long>(k.key0[r])),
               k1 = _mm512_set1_epi64(static_cast<long long>(k.key1[r]));
    a = philox_round_avx512(a, k0, k1);
    b = philox_round_avx512(b, k0, k1);
  }
  philox_end_avx512(a, static_cast<char*>(out));
  philox_end_avx512(b, static_cast<char*>(out) + 128);
}

struct philox_avx2 {
  __m256i c0, c1, c2, c3;
};
GRADPRESS_AVX2_PIECE __m256i philox_key_avx2(std::uint64_t k) { return _mm256_set1_epi64x(static_cast<long long>(k)); }
/// 4 blocks after two rounds, in the order of lanes that makes the final unpacking ascend. All counters have the same
/// upper word: half of the products of these rounds are zero, or the same for every block.
GRADPRESS_AVX2_PIECE philox_avx2 philox_start_avx2(philox_rounds const& k, std::uint64_t first) {
  auto const c0 = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(first)), _mm256_setr_epi64x(0, 2, 1, 3));
  auto const p0 = _mm256_mul_epu32(c0, _mm256_set1_epi64x(0xD2511F53));
  auto const p1 = _mm256_mul_epu32(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), philox_key_avx2(k.key1[0])),
                                   _mm256_set1_epi64x(0xCD9E8D57));
  auto const same = ((first >> 32) ^ k.key0[0]) * 0xD2511F53u;
  return {_mm256_xor_si256(_mm256_srli_epi64(p1, 32), philox_key_avx2(k.key0[1])), p1,
          _mm256_xor_si256(p0, philox_key_avx2(same >> 32 ^ k.key1[1])), philox_key_avx2(same)};
}
GRADPRESS_AVX2_PIECE philox_avx2 philox_round_avx2(philox_avx2 const& s, __m256i k0, __m256i k1) {
  auto const p0 = _mm256_mul_epu32(s.c0, _mm256_set1_epi64x(0xD2511F53)),
             p1 = _mm256_mul_epu32(s.c2, _mm256_set1_epi64x(0xCD9E8D57));
  return {_mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(s.c1, k0)), p1,
          _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(s.c3, k1)), p0};
}
GRADPRESS_AVX2_PIECE void philox_end_avx2(philox_avx2 const& s, __m256i* out) {
  auto const w01 = _mm256_blend_epi32(s.c0, _mm256_slli_epi64(s.c1, 32), 0xAA);
  auto const w23 = _mm256_blend_epi32(s.c2, _mm256_slli_epi64(s.c3, 32), 0xAA);
  _mm256_store_si256(out, _mm256_unpacklo_epi64(w01, w23));
  _mm256_store_si256(out + 1, _mm256_unpackhi_epi64(w01, w23));
}
GRADPRESS_AVX2 inline void philox16_avx2(philox_rounds const& k, std::uint64_t first, void* out) {
  if (first >> 32 != (first + 15) >> 32) return philox16(k, first, out);
  for (unsigned i = 0; i < 16; i += 8) {
    auto a = philox_start_avx2(k, first + i), b = philox_start_avx2(k, first + i + 4);
    GRADPRESS_UNROLL
    for (int r = 2; r < 10; ++r) {
      auto const k0 = philox_key_avx2(k.key0[r]), k1 = philox_key_avx2(k.key1[r]);
      a = philox_round_avx2(a, k0, k1);
      b = philox_round_avx2(b, k0, k1);
    }
    philox_end_avx2(a, static_cast<__m256i*>(out) + i / 2);
    philox_end_avx2(b, static_cast<__m256i*>(out) + i / 2 + 2);
  }
}

}  // namespace gradpress::kernel::detail

#endif
