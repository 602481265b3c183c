// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Philox4x32-10 for several blocks at once, word for word what `philox` gives.
///
/// Every 32-bit word has a 64-bit lane to itself: a product is then one instruction and its lower half needs no masking,
/// since the next multiplication and the final shuffle look at the low 32 bits only.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/isa.hpp>

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

/// Blocks first ... first + 7 of the stream: 128 bytes to `out`, aligned to 64.
GRADPRESS_AVX512_PIECE void philox8_avx512(philox_rounds const& k, std::uint64_t first, void* out) {
  auto const m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
  // This order of lanes makes the final unpacking ascend.
  auto c0 = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(first)), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
  auto c1 = _mm512_srli_epi64(c0, 32), c2 = _mm512_setzero_si512(), c3 = c2;
  for (int r = 0; r < 10; ++r) {
    auto const p0 = _mm512_mul_epu32(c0, m0), p1 = _mm512_mul_epu32(c2, m1);
    auto const k0 = _mm512_set1_epi64(static_cast<long long>(k.key0[r])), k1 = _mm512_set1_epi64(static_cast<long long>(k.key1[r]));
    c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, k0, 0x96);
    c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, k1, 0x96);
    c1 = p1;
    c3 = p0;
  }
  auto const w01 = _mm512_mask_shuffle_epi32(c0, 0xAAAA, c1, _MM_PERM_CCAA);
  auto const w23 = _mm512_mask_shuffle_epi32(c2, 0xAAAA, c3, _MM_PERM_CCAA);
  _mm512_store_si512(out, _mm512_unpacklo_epi64(w01, w23));
  _mm512_store_si512(static_cast<char*>(out) + 64, _mm512_unpackhi_epi64(w01, w23));
}

/// Blocks first ... first + 3 of the stream: 64 bytes to `out`, aligned to 32.
GRADPRESS_AVX2_PIECE void philox4_avx2(philox_rounds const& k, std::uint64_t first, void* out) {
  auto const m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  auto c0 = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(first)), _mm256_setr_epi64x(0, 2, 1, 3));
  auto c1 = _mm256_srli_epi64(c0, 32), c2 = _mm256_setzero_si256(), c3 = c2;
  for (int r = 0; r < 10; ++r) {
    auto const p0 = _mm256_mul_epu32(c0, m0), p1 = _mm256_mul_epu32(c2, m1);
    auto const k0 = _mm256_set1_epi64x(static_cast<long long>(k.key0[r])), k1 = _mm256_set1_epi64x(static_cast<long long>(k.key1[r]));
    c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1), k0);
    c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3), k1);
    c1 = p1;
    c3 = p0;
  }
  auto const w01 = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xAA);
  auto const w23 = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xAA);
  auto* const to = static_cast<__m256i*>(out);
  _mm256_store_si256(to, _mm256_unpacklo_epi64(w01, w23));
  _mm256_store_si256(to + 1, _mm256_unpackhi_epi64(w01, w23));
}

/// Blocks first ... first + 15 of the stream: 256 bytes to `out`, aligned to 64.
GRADPRESS_AVX512 inline void philox16_avx512(philox_rounds const& k, std::uint64_t first, void* out) {
  philox8_avx512(k, first, out);
  philox8_avx512(k, first + 8, static_cast<char*>(out) + 128);
}
GRADPRESS_AVX2 inline void philox16_avx2(philox_rounds const& k, std::uint64_t first, void* out) {
  for (unsigned i = 0; i < 16; i += 4) philox4_avx2(k, first + i, static_cast<char*>(out) + i * 16);
}

}  // namespace gradpress::kernel::detail

#endif
