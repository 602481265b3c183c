// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sign bits without scales, and the count of votes on them: 32 values a word, bit i % 32 of word i / 32 set where value i
/// is negative (-0 is), bits from n on 0.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/sign.hpp>

#include <array>

namespace gradpress::kernel {

[[nodiscard]] constexpr std::size_t sign_words(std::size_t n) noexcept { return (n + 31) / 32; }

/// Floats of room that `encode_signs` needs.
[[nodiscard]] constexpr std::size_t encode_signs_workspace(std::size_t n) noexcept { return blocks{n, 1024}.count(); }

/// The sign bits of g + e (of g if e is null), and rest = g + e less +1 or -1. False: g + e holds NaN or infinity, and what
/// was written means nothing. magnitudes: the mean magnitude of each 1024 values, more than 0 where any of them is not 0.
/// rest may be g or e.
///
/// - Cost  reads 2 n floats and writes n, in one pass.
template <class Exec>
bool encode_signs_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, std::byte* words,
                      float* magnitudes) {
  bool const streaming = rest && rest != g && rest != e && detail::streams(rest, n);
  detail::sign_encoding const s{g,     e,         rest, {n, 1024}, reinterpret_cast<std::byte*>(magnitudes),
                                words, streaming, true};
  auto const path = current_isa();
  std::atomic<bool> finite{true};
  for_chunks(exec, "gradpress::kernel::encode_signs", s.in.chunks(), [&](std::size_t c) {
    if (!detail::sign_encode_chunk(path, s, c)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// The sign bits of x, and the magnitudes. One read of n floats.
template <class Exec>
bool encode_signs(Exec const& exec, float const* x, std::size_t n, std::byte* words, float* magnitudes) {
  return encode_signs_sum(exec, x, nullptr, nullptr, n, words, magnitudes);
}

namespace detail {
/// The words of one piece of up to 1024 values.
inline void piece_signs(isa path, float const* a, std::size_t m, std::byte* words) noexcept {
  float mean;
  sign_encode_chunk(path, {a, nullptr, nullptr, {m, 1024}, reinterpret_cast<std::byte*>(&mean), words, false}, 0);
}
/// m values, of which the first has the first bit of the first word.
inline void apply_piece_signs(isa path, std::byte const* words, std::size_t m, float magnitude, bool add,
                              float* x) noexcept {
  auto const* const scale = reinterpret_cast<std::byte const*>(&magnitude);
  sign_decode_chunk(path, {scale, words, {m, 32768}, 1.f, add, x, false}, 0);
}
template <class Exec>
void apply_signs(Exec const& exec, char const* label, std::byte const* words, std::size_t n, float magnitude, bool add,
                 float* x) {
  auto const path = current_isa();
  for_ranges(exec, label, n, 32768, [&](std::size_t from, std::size_t to) {
    apply_piece_signs(path, words + from / 8, to - from, magnitude, add, x + from);
  });
}
}  // namespace detail

/// x = +magnitude or -magnitude.
template <class Exec>
void decode_signs(Exec const& exec, std::byte const* words, std::size_t n, float magnitude, float* x) {
  detail::apply_signs(exec, "gradpress::kernel::decode_signs", words, n, magnitude, false, x);
}
/// x += the same; a negative magnitude subtracts.
template <class Exec>
void accumulate_signs(Exec const& exec, std::byte const* words, std::size_t n, float magnitude, float* x) {
  detail::apply_signs(exec, "gradpress::kernel::accumulate_signs", words, n, magnitude, true, x);
}

namespace detail {
inline constexpr std::size_t votes_block = 64;
using vote_words = std::array<std::uint32_t, votes_block>;

/// Counters of one bit a plane, which start so that they overflow at the first vote above one half.
inline void count_votes_block(std::byte const* const* votes, std::size_t voters, std::size_t at, std::size_t words,
                              std::byte* negative, std::byte* tied) noexcept {
  auto const planes = static_cast<std::size_t>(std::bit_width(voters));
  auto const start = (std::uint64_t{1} << planes) - 1 - voters / 2;
  vote_words plane[32], over{};
  for (std::size_t j = 0; j < planes; ++j) plane[j].fill((start >> j & 1) != 0 ? ~0u : 0u);
  for (std::size_t v = 0; v < voters; ++v) {
    vote_words carry{};
    std::memcpy(carry.data(), votes[v] + 4 * at, 4 * words);
    for (std::size_t j = 0; j < planes; ++j)
      for (std::size_t w = 0; w < votes_block; ++w) {
        auto const both = plane[j][w] & carry[w];
        plane[j][w] ^= carry[w];
        carry[w] = both;
      }
    for (std::size_t w = 0; w < votes_block; ++w) over[w] |= carry[w];
  }
  vote_words half;  // one half of the voters exactly: one more would overflow
  half.fill(voters % 2 == 0 ? ~0u : 0u);
  for (std::size_t j = 0; j < planes; ++j)
    for (std::size_t w = 0; w < votes_block; ++w) half[w] &= plane[j][w];
  for (std::size_t w = 0; w < votes_block; ++w) half[w] &= ~over[w];
  std::memcpy(negative + 4 * at, over.data(), 4 * words);
  std::memcpy(tied + 4 * at, half.data(), 4 * words);
}
}  // namespace detail

/// For each of n values: negative, where more than half of the voters have its bit set; tied, where exactly half have
/// (none of none, too). votes: the words of each voter. Nothing may overlap.
///
/// - Order  does not matter: votes are counted, exactly. voters < 2^32.
/// - Cost   reads the voters' bits once; about 3 log2(voters) operations for 32 votes.
template <class Exec>
void count_votes(Exec const& exec, std::byte const* const* votes, std::size_t voters, std::size_t n,
                 std::byte* negative, std::byte* tied) {
  auto const words = sign_words(n);
  for_ranges(exec, "gradpress::kernel::count_votes", words, 1024, [&](std::size_t from, std::size_t to) {
    for (auto at = from; at < to; at += detail::votes_block)
      detail::count_votes_block(votes, voters, at, std::min(detail::votes_block, to - at), negative, tied);
  });
  if (n % 32 == 0) return;
  auto const inside = (1u << n % 32) - 1;
  for (auto* const last : {negative + 4 * (words - 1), tied + 4 * (words - 1)}) {
    std::uint32_t word = 0;
    std::memcpy(&word, last, 4);
    detail::store(last, word & inside);
  }
}

GRADPRESS_ONCE(encode_signs);
GRADPRESS_ONCE(encode_signs_sum);
GRADPRESS_ONCE(decode_signs);
GRADPRESS_ONCE(accumulate_signs);
GRADPRESS_ONCE(count_votes);

}  // namespace gradpress::kernel
