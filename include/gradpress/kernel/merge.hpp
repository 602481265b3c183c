// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One step of the gTop-k tree: add two sparse vectors and keep the k largest entries of the sum.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/kth.hpp>

#include <cstring>

namespace gradpress::kernel {

/// Bytes of workspace that `merge_top_k` needs: the union, and a histogram.
[[nodiscard]] constexpr std::size_t merge_top_k_workspace(std::size_t ka, std::size_t kb) noexcept {
  return (ka + kb) * (sizeof(index_t) + sizeof(float)) + kth_words_serial * sizeof(std::uint32_t);
}

namespace detail {

/// v where present is 1, what adds nothing to any value (-0, not 0) where it is 0. Bit operations, because compilers
/// make of a choice a branch that no predictor can learn.
[[nodiscard]] inline float present_or_nothing(float v, std::uint32_t present) noexcept {
  auto const mask = 0u - present;
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(v) & mask) | (0x80000000u & ~mask));
}

/// The sum of two sparse vectors; returns its number of entries.
inline std::size_t merge_add(index_t const* ai, float const* av, std::size_t ka, index_t const* bi, float const* bv,
                             std::size_t kb, index_t* index, float* value) noexcept {
  std::size_t a = 0, b = 0, at = 0;
  while (a < ka && b < kb) {
    auto const x = ai[a], y = bi[b];
    auto const from_a = static_cast<std::uint32_t>(x <= y), from_b = static_cast<std::uint32_t>(y <= x);
    index[at] = std::min(x, y);
    value[at++] = present_or_nothing(av[a], from_a) + present_or_nothing(bv[b], from_b);
    a += from_a;
    b += from_b;
  }
  auto const rest = [&](index_t const* i, float const* v, std::size_t count) {
    std::copy_n(i, count, index + at);
    std::copy_n(v, count, value + at);
    at += count;
  };
  rest(ai + a, av + a, ka - a);
  rest(bi + b, bv + b, kb - b);
  return at;
}

}  // namespace detail

/// mine = the k entries of mine + theirs that are largest in magnitude, by (|value| descending, index ascending).
///
/// - Shape   mine_*: ka entries, room for max(ka, k). their_*: kb entries. lost_*: room for ka + kb.
///           work: merge_top_k_workspace(ka, kb) bytes, aligned like a float.
/// - Order   indices ascend, before and after, in mine as in lost_*, which gets the merged entries that are dropped.
/// - Cost    one merge, two to three passes over the union; nothing dense.
/// - Edges   fewer than k entries in the union: all are kept. Sums that overflow are ordered by their bits: NaN, then
///           infinity, then the rest. Entries that cancel stay in the union, as zeros.
/// - Source  Shi et al., A Distributed Synchronous SGD Algorithm with Global Top-k Sparsification for Low Bandwidth
///           Networks, ICDCS 2019, the operator of definition 1; ours fixes ties and names what is dropped.
/// Returns the number kept, min(k, union).
std::size_t merge_top_k(index_t* mine_i, float* mine_v, std::size_t ka, index_t const* their_i, float const* their_v,
                        std::size_t kb, std::size_t k, std::byte* work, index_t* lost_i, float* lost_v,
                        std::size_t& lost_count);

#if GRADPRESS_BODIES
GRADPRESS_INLINE std::size_t merge_top_k(index_t* mine_i, float* mine_v, std::size_t ka, index_t const* their_i,
                                         float const* their_v, std::size_t kb, std::size_t k, std::byte* work,
                                         index_t* lost_i, float* lost_v, std::size_t& lost_count) {
  auto* index = reinterpret_cast<index_t*>(work);
  auto* value = reinterpret_cast<float*>(index + ka + kb);
  auto* words = reinterpret_cast<std::uint32_t*>(value + ka + kb);
  auto const m = detail::merge_add(mine_i, mine_v, ka, their_i, their_v, kb, index, value);
  auto const kept = std::min(k, m);
  std::size_t i = 0, at = 0;
  if (kept == m || kept == 0) {
    std::copy_n(index, kept, mine_i);
    std::copy_n(value, kept, mine_v);
    i = kept;
  } else {
    auto const kth = find_kth(value, m, k, words);
    auto const split = [&](bool keep) {
      mine_i[at] = lost_i[i - at] = index[i];
      mine_v[at] = lost_v[i - at] = value[i];
      at += keep;
      ++i;
    };
    if (kth.ties != kth.level)
      for (auto ties = kth.ties; ties != 0; ties -= magnitude(value[i - 1]) == kth.value)
        split(magnitude(value[i]) >= kth.value);
    auto const lowest = kth.ties == kth.level ? kth.value : kth.value + 1;
    while (at < kept) split(magnitude(value[i]) >= lowest);
  }
  std::copy_n(index + i, m - i, lost_i + (i - kept));
  std::copy_n(value + i, m - i, lost_v + (i - kept));
  lost_count = m - kept;
  return kept;
}
#endif

}  // namespace gradpress::kernel
