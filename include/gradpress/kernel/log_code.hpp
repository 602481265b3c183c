// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Logarithmic codes (mu-law): fine near zero, coarse near the largest magnitude.
///
///     [fp32 top = max|x|][code x n: one byte each, or with 4 bits two a byte, the even element in the low half]
///
/// A code is sign and magnitude: bit (bits - 1) is the sign, the bits below are m in [0, M], M = 2^(bits - 1) - 1. It
/// decodes to +- top * ((1 + alpha)^(m / M) - 1) / alpha. A zero magnitude has no sign: +0, -0 and what rounds to 0 are
/// code 0.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/portable/log_code.hpp>
#include <gradpress/kernel/sum_pieces.hpp>
#include <gradpress/kernel/x86/log_code.hpp>

namespace gradpress::kernel {

/// Exact size of the codes.
[[nodiscard]] constexpr std::size_t log_bytes(std::size_t n, int bits) noexcept {
  return 4 + (bits == 4 ? (n + 1) / 2 : n);
}

namespace detail {

/// Elements [from, to); with 4 bits, from is even.
inline void log_encode_chunk([[maybe_unused]] isa path, log_encoder const& encode, int bits, float const* x,
                             std::size_t from, std::size_t to, std::byte* codes) noexcept {
  std::uint8_t q[257];
  for (auto i = from; i < to; i += 256) {
    auto const m = std::min<std::size_t>(256, to - i);
    std::size_t done = 0;
#if GRADPRESS_X86
    if (path != isa::portable) done = log_codes_avx2(encode, x + i, m, q);
#endif
    encode(x + i + done, m - done, q + done);
    log_pack(q, m, bits, codes + (bits == 4 ? i / 2 : i));
  }
}

template <bool Add>
inline void log_decode_chunk([[maybe_unused]] isa path, log_values const& t, int bits, std::byte const* codes,
                             std::size_t from, std::size_t to, float* x) noexcept {
#if GRADPRESS_X86
  if (path != isa::portable) from = log_decode_avx2<Add>(t, bits, codes, from, to, x);
#endif
  log_decode_values<Add>(t, bits, codes, from, to, x);
}

}  // namespace detail

/// Codes of x with 4 to 8 bits, alpha > 0. False: x holds NaN or infinity. `partial` is dense_chunks(n) floats of
/// workspace.
///
/// - Error   half a step of the logarithmic scale: near 0 h ln(1 + alpha) / (2 alpha) of top, near top (1 + alpha)
///           times that, with h = 1 / M. Monotone: a larger x never has a smaller value.
/// - Cost    two passes over x, and about 1 ns an element for the look-up; 3 ns without AVX2.
/// - Source  Li et al., LQ-SGD, 2025 (arXiv 2506.17974); here with one scale, so that inputs need not lie in [-1, 1].
template <class Exec>
bool log_encode(Exec const& exec, float const* x, std::size_t n, int bits, float alpha, float* partial,
                std::byte* codes) {
  auto const top = max_abs(exec, x, n, partial);
  if (!std::isfinite(top)) return false;
  detail::store(codes, top);
  detail::log_encoder const code(bits, alpha, top);
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::log_encode", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::log_encode_chunk(path, code, bits, x, from, to, codes + 4);
  });
  return true;
}

/// Codes of g + e (of g if e is null), and rest = g + e - decoded. False: g + e holds NaN or infinity; rest is as it was.
/// rest may be g or e. `partial` as above.
///
/// - Cost  reads 2 n floats for the top, and again to code; writes n.
template <class Exec>
bool log_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, int bits, float alpha,
                    float* partial, std::byte* codes) {
  auto const top = max_abs_sum(exec, g, e, n, partial);
  if (!std::isfinite(top)) return false;
  detail::store(codes, top);
  detail::log_encoder const code(bits, alpha, top);
  detail::log_values const minus(bits, alpha, top, -1.f);
  auto const path = current_isa();
  detail::for_sum_pieces(exec, "gradpress::kernel::log_encode_sum", g, e, rest, n,
                         [&](std::size_t at, std::size_t m, float* a) {
                           auto* const to = codes + 4 + (bits == 4 ? at / 2 : at);
                           detail::log_encode_chunk(path, code, bits, a, 0, m, to);
                           detail::log_decode_chunk<true>(path, minus, bits, to, 0, m, a);
                         });
  return true;
}

/// x = decoded.
template <class Exec>
void log_decode(Exec const& exec, std::byte const* codes, std::size_t n, int bits, float alpha, float* x) {
  detail::log_values const t(bits, alpha, detail::load_float(codes), 1.f);
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::log_decode", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::log_decode_chunk<false>(path, t, bits, codes + 4, from, to, x);
  });
}

/// sum += factor * decoded; factor is +1 or -1.
template <class Exec>
void log_accumulate(Exec const& exec, std::byte const* codes, std::size_t n, int bits, float alpha, float factor,
                    float* sum) {
  detail::log_values const t(bits, alpha, detail::load_float(codes), factor);
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::log_accumulate", n, dense_grain, [&](std::size_t from, std::size_t to) {
    detail::log_decode_chunk<true>(path, t, bits, codes + 4, from, to, sum);
  });
}

GRADPRESS_ONCE(log_encode);
GRADPRESS_ONCE(log_encode_sum);
GRADPRESS_ONCE(log_decode);
GRADPRESS_ONCE(log_accumulate);

}  // namespace gradpress::kernel
