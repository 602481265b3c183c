// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sizes of the CUDA top-k, decided on the host: tuning numbers, sample rank, workspace. No CUDA needed to read it.

#include <gradpress/kernel/cuda/candidate_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace gradpress::kernel::cuda {

/// Tuning numbers of the CUDA top-k. None of them changes a result.
struct top_k_tuning {
  static constexpr std::uint32_t threads = 512;     ///< a block of the sample pass
  static constexpr std::uint32_t samples = 65536;   ///< tensors up to this size are sampled whole
  static constexpr std::uint32_t run = 8;           ///< neighbours sampled together: one 32-byte sector
  static constexpr std::uint32_t sample_bits = 13;  ///< exponent and 5 bits of mantissa: bins 3 % wide
  static constexpr std::uint32_t samples_a_thread = 1;
  static constexpr std::uint32_t finish_threads = 512;  ///< a block of the finish pass, one block a multiprocessor
  static constexpr std::uint32_t finish_batch = 8;      ///< loads that a thread of it has in flight
  static constexpr std::uint32_t digit_bits = 11;       ///< 31 bits of magnitude are three digits: 11, 10, 10
  static constexpr std::uint32_t max_finish_blocks = 1024;
  static constexpr std::uint32_t candidate_factor = 4;     ///< room for so many times k candidates ...
  static constexpr std::uint32_t candidate_slack = 65536;  ///< ... and so many more
};

/// Largest r with r * r <= v.
[[nodiscard]] constexpr std::uint64_t integer_sqrt(std::uint64_t v) noexcept {
  std::uint64_t r = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1)
    if ((r + bit) * (r + bit) <= v) r += bit;
  return r;
}

/// Everything about one (n, k) that the host decides.
struct top_k_plan {
  std::uint32_t n = 0, k = 0;
  std::uint32_t tiles = 0;
  std::uint32_t samples = 0;  ///< how many elements are sampled
  std::uint32_t rank = 0;  ///< the lower threshold has at least this many samples at or above it, if there are so many
  std::uint32_t capacity = 0;  ///< room for candidates
  // Byte offsets of the workspace's parts; [0, cleared) is zeroed at the start.
  std::size_t counters = 0, sample_histogram = 0, digit_histogram = 0, cleared = 0;
  std::size_t tile_first = 0, tile_size = 0, tile_rank = 0, block_sum = 0, value = 0, index = 0, bytes = 0;
};

/// The plan for the k largest of n; k > n means all. Throws nothing, allocates nothing.
///
/// The sample rank is what k of n leads one to expect, plus six standard deviations and eight: too low a threshold
/// costs a few candidates, too high a one costs the slow path. A tensor that is sampled whole needs no margin.
[[nodiscard]] constexpr top_k_plan plan_top_k(std::size_t n, std::size_t k) noexcept {
  using tune = top_k_tuning;
  top_k_plan p;
  p.n = static_cast<std::uint32_t>(n);
  p.k = static_cast<std::uint32_t>(std::min(k, n));
  p.tiles = collect_tiles(n);
  p.samples = static_cast<std::uint32_t>(std::min<std::size_t>(n, tune::samples));
  p.rank = p.k;
  if (n > tune::samples) {
    auto const expected = std::uint64_t{p.k} * p.samples / p.n;
    p.rank = static_cast<std::uint32_t>(expected + 6 * integer_sqrt(expected) + 8);
  }
  auto const room = std::uint64_t{tune::candidate_factor} * p.k + tune::candidate_slack;
  p.capacity = static_cast<std::uint32_t>(std::min<std::uint64_t>(room, n));

  workspace_layout memory;
  p.counters = memory.take(3 * sizeof(std::uint32_t));
  p.sample_histogram = memory.take(sizeof(std::uint32_t) << tune::sample_bits);
  p.digit_histogram = memory.take(3 * sizeof(std::uint32_t) << tune::digit_bits);
  p.cleared = memory.end;
  p.tile_first = memory.take(sizeof(std::uint32_t) * p.tiles);
  p.tile_size = memory.take(sizeof(std::uint32_t) * p.tiles);
  p.tile_rank = memory.take(sizeof(std::uint64_t) * p.tiles);
  p.block_sum = memory.take(sizeof(std::uint64_t) * tune::max_finish_blocks);
  p.value = memory.take(sizeof(float) * p.capacity);
  p.index = memory.take(sizeof(std::uint32_t) * p.capacity);
  p.bytes = memory.end;
  return p;
}

/// Bytes of device memory that `top_k` and `top_k_sum` need, 16-byte aligned.
[[nodiscard]] constexpr std::size_t top_k_workspace_bytes(std::size_t n, std::size_t k) noexcept {
  return plan_top_k(n, k).bytes;
}

/// The workspace's parts by name.
struct top_k_workspace {
  candidate_pool pool;
  std::uint32_t* lower;             ///< bits of the lower threshold, what the pool's `lower` points to
  std::uint32_t* ticket;            ///< blocks of the sample pass that are done
  std::uint32_t* sample_histogram;  ///< samples by the leading bits of |x|
  std::uint32_t* digit_histogram;   ///< three histograms, one a digit
  std::uint64_t* tile_rank;  ///< a tile's counts, later the counts before it: above in the high word, ties in the low
  std::uint64_t* block_sum;  ///< the same, summed over a block's share of the tiles
};

[[nodiscard]] inline top_k_workspace bind(top_k_plan const& p, void* memory) noexcept {
  auto* const at = static_cast<std::byte*>(memory);
  auto const words = [at](std::size_t offset) { return reinterpret_cast<std::uint32_t*>(at + offset); };
  auto const longs = [at](std::size_t offset) { return reinterpret_cast<std::uint64_t*>(at + offset); };
  auto* const lower = words(p.counters);
  candidate_pool const pool{lower,
                            0,
                            lower + 1,
                            words(p.tile_first),
                            words(p.tile_size),
                            reinterpret_cast<float*>(at + p.value),
                            words(p.index),
                            p.capacity};
  return {pool,
          lower,
          lower + 2,
          words(p.sample_histogram),
          words(p.digit_histogram),
          longs(p.tile_rank),
          longs(p.block_sum)};
}

}  // namespace gradpress::kernel::cuda
