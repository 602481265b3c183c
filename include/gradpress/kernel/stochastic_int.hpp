// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// 8, 4 or 2 bits an element and one scale a block, rounded to nearest or at random without bias.
///
///     [fp32 scale x ceil(n / block)][code x n, `bits` bits each, padded with zero bits to whole bytes]
///
/// The codes are one little-endian stream of bits: element i has bits [i * bits, (i + 1) * bits), in two's complement.
/// So 8 bits are one byte an element, 4 bits two elements a byte with the even one in the low half, 2 bits four a byte.
/// Codes lie in [-L, L] with L = 2^(bits - 1) - 1, that is 127, 7 or 1, and decode to code * scale, which is exact in
/// fp32.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/portable/stochastic_int.hpp>
#include <gradpress/kernel/x86/stochastic_int.hpp>

#include <atomic>

namespace gradpress::kernel {

/// Exact size of the codes.
[[nodiscard]] constexpr std::size_t int_bytes(std::size_t n, int bits, std::size_t block) noexcept {
  return 4 * blocks{n, block}.count() + (n * static_cast<std::size_t>(bits) + 7) / 8;
}

namespace detail {

inline bool int_encode_chunk([[maybe_unused]] isa path, int_encoding const& s, std::size_t c) noexcept {
  bool finite = true;
#if GRADPRESS_X86
  philox_rounds const k(s.key);
#endif
  for (auto b = s.in.first(c); b < s.in.first(c + 1); ++b)
#if GRADPRESS_X86
    if (path == isa::avx512)
      finite &= int_encode_block_avx512(s, k, b);
    else if (path == isa::avx2)
      finite &= int_encode_block_avx2(s, k, b);
    else
#endif
      finite &= int_encode_block(s, b);
  end_streaming(s.streaming);
  return finite;
}

inline void int_decode_chunk([[maybe_unused]] isa path, int_decoding const& s, std::size_t c) noexcept {
  for (auto b = s.in.first(c); b < s.in.first(c + 1); ++b)
#if GRADPRESS_X86
    if (path == isa::avx512)
      int_decode_block_avx512(s, b);
    else if (path == isa::avx2)
      int_decode_block_avx2(s, b);
    else
#endif
      int_decode_block(s, b);
  end_streaming(s.streaming);
}

}  // namespace detail

/// Codes of g + e (of g if e is null), and rest = g + e - decoded, in one pass. False: g + e holds NaN or infinity, and
/// what was written means nothing.
///
/// - Bits    8, 4 or 2; `block` is a multiple of 64. rest may be g or e.
/// - Random  element i uses byte i % 16 of `philox(key, i / 16)`, bytes counted from the low end of word 0.
/// - Error   at most scale / 2 to nearest, below scale when stochastic; the mean error is below scale / 512.
/// - Cost    reads 2 n floats and writes n in one pass, as long as a block fits into the first cache.
/// - Source  Alistarh et al., QSGD, NeurIPS 2017, with the maximum norm and a linear grid that has the maximum as a
///           point.
template <class Exec>
bool int_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, int bits,
                    std::size_t block, bool stochastic, std::uint64_t key, std::byte* codes) {
  bool const streaming = rest && rest != g && rest != e && detail::streams(rest, n);
  detail::int_encoding const s{
      g, e, rest, {n, block}, bits, stochastic, key, codes, codes + 4 * blocks{n, block}.count(), streaming};
  auto const path = current_isa();
  std::atomic<bool> finite{true};
  for_chunks(exec, "gradpress::kernel::int_encode", s.in.chunks(), [&](std::size_t c) {
    if (!detail::int_encode_chunk(path, s, c)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// Codes of x. False: x holds NaN or infinity.
template <class Exec>
bool int_encode(Exec const& exec, float const* x, std::size_t n, int bits, std::size_t block, bool stochastic,
                std::uint64_t key, std::byte* codes) {
  return int_encode_sum(exec, x, nullptr, nullptr, n, bits, block, stochastic, key, codes);
}

/// x = decoded.
template <class Exec>
void int_decode(Exec const& exec, std::byte const* codes, std::size_t n, int bits, std::size_t block, float* x) {
  detail::int_decoding const s{
      codes, codes + 4 * blocks{n, block}.count(), {n, block}, bits, 1.f, false, x, detail::streams(x, n)};
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::int_decode", s.in.chunks(),
             [&](std::size_t c) { detail::int_decode_chunk(path, s, c); });
}

/// sum += factor * decoded; factor is +1 or -1.
template <class Exec>
void int_accumulate(Exec const& exec, std::byte const* codes, std::size_t n, int bits, std::size_t block, float factor,
                    float* sum) {
  detail::int_decoding const s{codes, codes + 4 * blocks{n, block}.count(), {n, block}, bits, factor, true, sum, false};
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::int_accumulate", s.in.chunks(),
             [&](std::size_t c) { detail::int_decode_chunk(path, s, c); });
}

GRADPRESS_ONCE(int_encode_sum);
GRADPRESS_ONCE(int_encode);
GRADPRESS_ONCE(int_decode);
GRADPRESS_ONCE(int_accumulate);

}  // namespace gradpress::kernel
