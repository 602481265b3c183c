// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Gradient plus memory, formed piece by piece in the nearest cache for whoever codes it there.
///
/// A codec of single elements needs no more than this to code a sum and to leave what coding lost: its loops for encoding
/// and decoding run on the piece, and memory sees g and e read and the rest written.

#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/forming.hpp>

#include <cmath>

namespace gradpress::kernel {

/// Elements of a chunk, and of a piece; whole pieces make a chunk.
inline constexpr std::size_t sum_grain = 32768, sum_piece = 1024;

namespace detail {

/// What is added, and where the rest goes; e and rest may be null.
struct sum_pass {
  float const* g;
  float const* e;
  float* rest;
  bool streaming;  ///< write rest around the caches

  sum_pass(float const* addend, float const* other, float* left, std::size_t n) noexcept
      : g(addend), e(other), rest(left), streaming(left && left != addend && left != other && streams(left, n)) {}
};

template <class Use>
inline std::uint32_t sum_range(isa path, sum_pass const& s, std::size_t from, std::size_t to, Use const& use) {
  alignas(64) float a[sum_piece];
  std::uint32_t top = 0;
  for (auto at = from; at < to; at += sum_piece) {
    auto const m = std::min(sum_piece, to - at);
    if (s.e) {
      top = std::max(top, dense_chunk<dense_op::add>(path, {s.g + at, s.e + at, 0.f, a}, 0, m));
    } else {
      top = std::max(top, dense_chunk<dense_op::read>(path, {s.g + at, nullptr, 0.f, nullptr}, 0, m));
      std::memcpy(a, s.g + at, m * sizeof(float));
    }
    use(at, m, a);
    if (s.rest) put_piece(a, m, s.rest + at, s.streaming);
  }
  end_streaming(s.streaming);
  return top;
}

/// Calls use(at, m, a) for pieces of g + e, or of g if e is null: a holds elements [at, at + m), `at` is a multiple of
/// sum_piece, and one thread has the pieces of a chunk one after the other. What `use` makes of a goes to rest, which may
/// be null, g or e. Returns the largest |g + e|, 0 if n = 0, infinity if a sum is NaN or infinity.
template <class Exec, class Use>
float for_sum_pieces(Exec const& exec, char const* label, float const* g, float const* e, float* rest, std::size_t n,
                     Use const& use) {
  sum_pass const s(g, e, rest, n);
  auto const path = current_isa();
  std::atomic<std::uint32_t> top{0};
  for_ranges(exec, label, n, sum_grain, [&](std::size_t from, std::size_t to) {
    auto const mine = sum_range(path, s, from, to, use);
    for (auto seen = top.load(); seen < mine && !top.compare_exchange_weak(seen, mine);) {
    }
  });
  return std::bit_cast<float>(std::min(top.load(), infinite_magnitude));
}

}  // namespace detail

/// out = g + e (g if e is null), rest = 0: the whole sum leaves. False: it holds NaN or infinity. rest may be g or e.
/// Reads 2 n floats and writes 2 n.
template <class Exec>
bool hand_over_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, float* out) {
  auto const top = detail::for_sum_pieces(exec, "gradpress::kernel::hand_over_sum", g, e, rest, n,
                                          [&](std::size_t at, std::size_t m, float* a) {
                                            std::memcpy(out + at, a, m * sizeof(float));
                                            std::memset(a, 0, m * sizeof(float));
                                          });
  return std::isfinite(top);
}

GRADPRESS_ONCE(hand_over_sum);

}  // namespace gradpress::kernel
