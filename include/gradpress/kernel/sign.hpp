// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One bit an element and one scale a block.
///
///     [fp32 scale x ceil(n / block)][u32 word x ceil(n / 32)]
///
/// Bit i % 32 of word i / 32 is the sign bit of element i (1 = negative, so -0 counts as negative); bits from n on are
/// 0. An element decodes to +scale or -scale of its block.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/portable/sign.hpp>
#include <gradpress/kernel/x86/sign.hpp>

#include <atomic>

namespace gradpress::kernel {

/// Exact size of the codes.
[[nodiscard]] constexpr std::size_t sign_bytes(std::size_t n, std::size_t block) noexcept {
  return 4 * (blocks{n, block}.count() + (n + 31) / 32);
}

namespace detail {

inline bool sign_encode_chunk([[maybe_unused]] isa path, sign_encoding const& s, std::size_t c) noexcept {
  bool finite = true;
  for (auto b = s.in.first(c); b < s.in.first(c + 1); ++b)
#if GRADPRESS_X86
    if (path == isa::avx512)
      finite &= sign_encode_block_avx512(s, b);
    else if (path == isa::avx2)
      finite &= sign_encode_block_avx2(s, b);
    else
#endif
      finite &= sign_encode_block(s, b);
  end_streaming(s.streaming);
  return finite;
}

inline void sign_decode_chunk([[maybe_unused]] isa path, sign_decoding const& s, std::size_t c) noexcept {
  for (auto b = s.in.first(c); b < s.in.first(c + 1); ++b)
#if GRADPRESS_X86
    if (path == isa::avx512)
      sign_decode_block_avx512(s, b);
    else if (path == isa::avx2)
      sign_decode_block_avx2(s, b);
    else
#endif
      sign_decode_block(s, b);
  end_streaming(s.streaming);
}

}  // namespace detail

/// Codes of g + e (of g if e is null), and rest = g + e - decoded, in one pass. False: g + e holds NaN or infinity, and
/// what was written means nothing.
///
/// - Scale   the mean of |g + e| over the block: 16 lanes a piece of 1024 elements in fp32, pieces in double.
/// - Order   `block` is a multiple of 32. rest may be g or e.
/// - Cost    reads 2 n floats and writes n in one pass, as long as a block fits into the first cache.
/// - Source  Karimireddy et al., Error Feedback Fixes SignSGD, ICML 2019, there with one scale a layer.
template <class Exec>
bool sign_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, std::size_t block,
                     std::byte* codes) {
  bool const streaming = rest && rest != g && rest != e && detail::streams(rest, n);
  detail::sign_encoding const s{g, e, rest, {n, block}, codes, codes + 4 * blocks{n, block}.count(), streaming};
  auto const path = current_isa();
  std::atomic<bool> finite{true};
  for_chunks(exec, "gradpress::kernel::sign_encode", s.in.chunks(), [&](std::size_t c) {
    if (!detail::sign_encode_chunk(path, s, c)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// Codes of x. False: x holds NaN or infinity.
template <class Exec>
bool sign_encode(Exec const& exec, float const* x, std::size_t n, std::size_t block, std::byte* codes) {
  return sign_encode_sum(exec, x, nullptr, nullptr, n, block, codes);
}

/// x = decoded.
template <class Exec>
void sign_decode(Exec const& exec, std::byte const* codes, std::size_t n, std::size_t block, float* x) {
  detail::sign_decoding const s{
      codes, codes + 4 * blocks{n, block}.count(), {n, block}, 1.f, false, x, detail::streams(x, n)};
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::sign_decode", s.in.chunks(),
             [&](std::size_t c) { detail::sign_decode_chunk(path, s, c); });
}

/// sum += factor * decoded; factor is +1 or -1.
template <class Exec>
void sign_accumulate(Exec const& exec, std::byte const* codes, std::size_t n, std::size_t block, float factor,
                     float* sum) {
  detail::sign_decoding const s{codes, codes + 4 * blocks{n, block}.count(), {n, block}, factor, true, sum, false};
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::sign_accumulate", s.in.chunks(),
             [&](std::size_t c) { detail::sign_decode_chunk(path, s, c); });
}

GRADPRESS_ONCE(sign_encode_sum);
GRADPRESS_ONCE(sign_encode);
GRADPRESS_ONCE(sign_decode);
GRADPRESS_ONCE(sign_accumulate);

}  // namespace gradpress::kernel
