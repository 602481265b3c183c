// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// fp32 to bf16 or fp16 and back, over whole vectors. The codes are the n 16-bit numbers, nothing else.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/portable/cast.hpp>
#include <gradpress/kernel/x86/cast.hpp>

#include <atomic>

namespace gradpress::kernel {

/// Exact size of the codes.
[[nodiscard]] constexpr std::size_t cast_bytes(std::size_t n) noexcept { return 2 * n; }

namespace detail {

inline constexpr std::size_t cast_grain = 32768;

template <class T>
inline bool cast_encode_chunk([[maybe_unused]] isa path, cast_encoding<T> const& s, std::size_t from,
                              std::size_t to) noexcept {
  std::uint32_t top;
#if GRADPRESS_X86
  if (path == isa::avx512)
    top = cast_encode_avx512(s, from, to);
  else if (path == isa::avx2)
    top = cast_encode_avx2(s, from, to);
  else
#endif
    top = cast_encode_values(s, from, to);
  end_streaming(s.streaming);
  return top <= cast_limit<T>;
}

template <class T>
inline void cast_decode_chunk([[maybe_unused]] isa path, cast_decoding<T> const& s, std::size_t from,
                              std::size_t to) noexcept {
#if GRADPRESS_X86
  if (path == isa::avx512)
    cast_decode_avx512(s, from, to);
  else if (path == isa::avx2)
    cast_decode_avx2(s, from, to);
  else
#endif
    cast_decode_values(s, from, to);
  end_streaming(s.streaming);
}

}  // namespace detail

/// out = g + e (g if e is null) to nearest, ties to even; rest = g + e - out. T is bfloat16 or float16. False: g + e
/// holds NaN, infinity or what T cannot hold (|x| > 65504 for float16), and what was written means nothing. rest may be
/// g or e.
template <class T, class Exec>
bool cast_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, T* out) {
  bool const streaming = rest && rest != g && rest != e && detail::streams(rest, n);
  detail::cast_encoding<T> const s{g, e, rest, out, streaming};
  auto const path = current_isa();
  std::atomic<bool> fits{true};
  for_ranges(exec, "gradpress::kernel::cast_encode", n, detail::cast_grain, [&](std::size_t from, std::size_t to) {
    if (!detail::cast_encode_chunk(path, s, from, to)) fits.store(false, std::memory_order_relaxed);
  });
  return fits.load();
}

/// out = x to nearest, ties to even. False: x holds NaN, infinity or what T cannot hold.
template <class T, class Exec>
bool cast_encode(Exec const& exec, float const* x, std::size_t n, T* out) {
  return cast_encode_sum<T>(exec, x, nullptr, nullptr, n, out);
}

/// Are n codes all finite? Four at a time: one added to an exponent of ones, and only to that, reaches the sign's place.
template <class T>
[[nodiscard]] bool cast_finite(T const* codes, std::size_t n) noexcept {
  constexpr std::uint64_t each = 0x0001000100010001ull, exponent = std::is_same_v<T, bfloat16> ? 0x7f80 : 0x7c00,
                          least = exponent & (~exponent + 1);
  auto const carry = [](T const* from, std::size_t count) {
    std::uint64_t four = 0;
    std::memcpy(&four, from, sizeof(T) * count);
    return (four & exponent * each) + least * each;
  };
  std::uint64_t carries = 0;
  for (; n >= 16; n -= 16, codes += 16)
    carries |= (carry(codes, 4) | carry(codes + 4, 4)) | (carry(codes + 8, 4) | carry(codes + 12, 4));
  for (; n >= 4; n -= 4, codes += 4) carries |= carry(codes, 4);
  if (n > 0) carries |= carry(codes, n);
  return (carries & 0x8000 * each) == 0;
}

/// x = in, exactly.
template <class T, class Exec>
void cast_decode(Exec const& exec, T const* in, std::size_t n, float* x) {
  detail::cast_decoding<T> const s{in, 0.f, x, detail::streams(x, n)};
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::cast_decode", n, detail::cast_grain,
             [&](std::size_t from, std::size_t to) { detail::cast_decode_chunk(path, s, from, to); });
}

/// sum += factor * in; factor is +1 or -1.
template <class T, class Exec>
void cast_accumulate(Exec const& exec, T const* in, std::size_t n, float factor, float* sum) {
  detail::cast_decoding<T> const s{in, factor, sum, false};
  auto const path = current_isa();
  for_ranges(exec, "gradpress::kernel::cast_accumulate", n, detail::cast_grain,
             [&](std::size_t from, std::size_t to) { detail::cast_decode_chunk(path, s, from, to); });
}

GRADPRESS_ONCE_FOR(cast_encode_sum, bfloat16);
GRADPRESS_ONCE_FOR(cast_encode_sum, float16);
GRADPRESS_ONCE_FOR(cast_encode, bfloat16);
GRADPRESS_ONCE_FOR(cast_encode, float16);
GRADPRESS_ONCE_FOR(cast_decode, bfloat16);
GRADPRESS_ONCE_FOR(cast_decode, float16);
GRADPRESS_ONCE_FOR(cast_accumulate, bfloat16);
GRADPRESS_ONCE_FOR(cast_accumulate, float16);

}  // namespace gradpress::kernel
