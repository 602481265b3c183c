// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Codes -1, 0, +1 with an agreed scale: they add across ranks as integers. The codes are n numbers of T, nothing else.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/portable/ternary.hpp>
#include <gradpress/kernel/x86/ternary.hpp>

namespace gradpress::kernel {

namespace detail {

template <ternary_code T>
inline void ternary_encode_chunk([[maybe_unused]] isa path, ternary_encoding<T> const& s, std::size_t from,
                                 std::size_t to) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512)
    ternary_encode_avx512(s, from, to);
  else if (path == isa::avx2)
    ternary_encode_avx2(s, from, to);
  else
#endif
    ternary_encode_values(s, from, to);
  end_streaming(s.streaming);
}

template <ternary_code T>
inline void ternary_decode_chunk([[maybe_unused]] isa path, T const* codes, std::size_t from, std::size_t to,
                                 float scale, float* x) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512) return ternary_decode_avx512(codes, from, to, scale, x);
  if (path == isa::avx2) return ternary_decode_avx2(codes, from, to, scale, x);
#endif
  ternary_decode_values(codes, from, to, scale, x);
}

}  // namespace detail

/// With x = g + e (g if e is null): codes[i] = sign(x[i]) with probability |x[i]| / scale, otherwise 0, and rest = x -
/// scale * codes, in one pass. Unbiased to 2^-24 as long as |x| <= scale; all zeros if scale is 0. x is finite; rest may be
/// g or e.
///
/// - Random  element i uses the upper 24 bits of word i % 4 of `philox(key, i / 4)`.
/// - Cost    reads 2 n floats and writes n, and the codes.
/// - Source  Wen et al., TernGrad, NeurIPS 2017; clipping and the agreement on the scale are the caller's.
template <ternary_code T, class Exec>
void ternary_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, float scale,
                        std::uint64_t key, T* codes) {
  bool const streaming = rest && rest != g && rest != e && detail::streams(rest, n);
  detail::ternary_encoding<T> const s{g, e, rest, scale, key, codes, streaming};
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::ternary_encode", n, dense_grain, [&](std::size_t from, std::size_t to) {
    if (scale > 0) return detail::ternary_encode_chunk(path, s, from, to);
    std::fill(codes + from, codes + to, T{0});
    if (rest) detail::add_into(g + from, e ? e + from : e, rest + from, to - from);
  });
}

/// Codes of x alone.
template <ternary_code T, class Exec>
void ternary_encode(Exec const& exec, float const* x, std::size_t n, float scale, std::uint64_t key, T* codes) {
  ternary_encode_sum(exec, x, nullptr, nullptr, n, scale, key, codes);
}

/// x = scale * codes, for codes of one rank or their sum.
template <ternary_code T, class Exec>
void ternary_decode(Exec const& exec, T const* codes, std::size_t n, float scale, float* x) {
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::ternary_decode", n, dense_grain,
             [&](std::size_t from, std::size_t to) { detail::ternary_decode_chunk(path, codes, from, to, scale, x); });
}

GRADPRESS_ONCE_FOR(ternary_encode, std::int8_t);
GRADPRESS_ONCE_FOR(ternary_encode, std::int16_t);
GRADPRESS_ONCE_FOR(ternary_encode_sum, std::int8_t);
GRADPRESS_ONCE_FOR(ternary_encode_sum, std::int16_t);
GRADPRESS_ONCE_FOR(ternary_decode, std::int8_t);
GRADPRESS_ONCE_FOR(ternary_decode, std::int16_t);

}  // namespace gradpress::kernel
