// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Last pass of the CUDA top-k: the exact k-th magnitude by radix select, then the kept entries in index order.

#include <gradpress/kernel/cuda/launch.cuh>
#include <gradpress/kernel/cuda/top_k_plan.hpp>

#include <cooperative_groups.h>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

namespace gradpress::kernel::cuda {

namespace detail {

/// What the finish pass selects from: the pool, or, where the pool cannot be used, every element.
struct top_k_source {
  candidate_pool pool;
  float const* x;
  std::uint32_t n;
  std::uint32_t flat_size;  ///< entries in any order
  bool all;

  __device__ float flat(std::uint32_t i) const { return all ? x[i] : pool.value[i]; }
  __device__ std::uint32_t tile_first(std::uint32_t t) const {
    return all ? t * collect_tuning::tile : pool.tile_first[t];
  }
  __device__ std::uint32_t tile_size(std::uint32_t t) const {
    if (!all) return pool.tile_size[t];
    auto const begin = t * collect_tuning::tile;
    return n - begin < collect_tuning::tile ? n - begin : collect_tuning::tile;
  }
  __device__ std::uint32_t index(std::uint32_t i) const { return all ? i : pool.index[i]; }
};

/// Entries above the k-th magnitude in the high word, entries equal to it in the low one; sums do not carry.
__device__ __forceinline__ std::uint64_t above_and_ties(std::uint64_t above, std::uint64_t ties) {
  return above << 32 | ties;
}

}  // namespace detail

/// Writes the k entries that are first by (|x| descending, index ascending), in index order.
///
/// - Grid   cooperative: blocks of `finish_threads`, all resident.
/// - Steps  three digits of the k-th magnitude, each from a histogram over the candidates; counts a tile; their
///          exclusive sums; the entries. Six grid barriers in between. Everything exchanged between blocks is an
///          integer sum.
/// - Slow   where the sample misled (fewer than k candidates, or more than there is room for) every step reads x
///          instead: 20 bytes an element, the same result.
/// 0 < k <= n.
template <class Tuning>
__global__ void __launch_bounds__(Tuning::finish_threads, 1)
    top_k_finish(float const* x, std::uint32_t n, std::uint32_t k, std::uint32_t tiles, top_k_workspace work,
                 std::uint32_t* __restrict__ kept_index, float* __restrict__ kept_value) {
  constexpr std::uint32_t bins = 1u << Tuning::digit_bits, mine = bins / Tuning::finish_threads;
  using scan = cub::BlockScan<std::uint64_t, static_cast<int>(Tuning::finish_threads)>;
  using reduce = cub::BlockReduce<std::uint64_t, static_cast<int>(Tuning::finish_threads)>;
  __shared__ union {
    typename scan::TempStorage scan_part;
    typename reduce::TempStorage reduce_part;
  } memory;
  __shared__ std::uint32_t histogram[bins];
  __shared__ std::uint32_t shared_digit, shared_above;
  __shared__ std::uint64_t shared_before;

  auto const grid = cooperative_groups::this_grid();
  auto const thread = blockIdx.x * Tuning::finish_threads + threadIdx.x, threads = gridDim.x * Tuning::finish_threads;
  auto const lane = threadIdx.x % 32, warp = thread / 32, warps = threads / 32;
  auto const used = *work.pool.used;
  bool const all = used < k || used > work.pool.capacity;
  detail::top_k_source const from{work.pool, x, n, all ? n : used, all};

  // The k-th magnitude, digit by digit. Every block picks the digit for itself from the same sums.
  std::uint32_t kth = 0, decided = 0, wanted = k;
#pragma unroll 1  // unrolled, sm_90 runs out of registers and spills
  for (std::uint32_t digit = 0; digit < 3; ++digit) {
    auto const shift = digit == 0 ? 20u : digit == 1 ? 10u : 0u, wide = digit == 0 ? 0x7ffu : 0x3ffu;
    auto* const sums = work.digit_histogram + digit * bins;
    for (auto b = threadIdx.x; b < bins; b += Tuning::finish_threads) histogram[b] = 0;
    __syncthreads();
    for (std::uint64_t i = thread; i < from.flat_size; i += threads) {
      auto const m = magnitude_bits(from.flat(static_cast<std::uint32_t>(i)));
      if ((m & decided) == kth) atomicAdd(histogram + (m >> shift & wide), 1u);
    }
    __syncthreads();
    for (auto b = threadIdx.x; b < bins; b += Tuning::finish_threads)
      if (histogram[b] != 0) atomicAdd(sums + b, histogram[b]);
    grid.sync();

    auto const top = bins - threadIdx.x * mine;  // thread 0 has the highest bins
    std::uint64_t count = 0, above = 0;
    for (std::uint32_t b = 0; b < mine; ++b) count += __ldcg(sums + top - 1 - b);
    scan(memory.scan_part).ExclusiveSum(count, above);
    if (above < wanted && above + count >= wanted) {
      auto bin = top;
      auto reached = static_cast<std::uint32_t>(above);
      for (;;) {
        auto const here = __ldcg(sums + --bin);
        if (reached + here >= wanted) break;
        reached += here;
      }
      shared_digit = bin;
      shared_above = reached;
    }
    __syncthreads();
    kth |= shared_digit << shift;
    decided |= wide << shift;
    wanted -= shared_above;
    __syncthreads();
  }
  auto const ties = wanted;  // of the entries equal to the k-th, so many are kept: those of lowest index

  // A warp counts a tile. Neighbouring tiles go to different warps: large magnitudes often sit together.
  for (auto t = warp; t < tiles; t += warps) {
    auto const first = from.tile_first(t), size = from.tile_size(t);
    std::uint32_t above = 0, equal = 0;
    for (auto i = lane; i < size; i += 32) {
      auto const m = magnitude_bits(from.flat(first + i));
      above += m > kth;
      equal += m == kth;
    }
    auto const sum = [](std::uint32_t v) {
      for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
      return v;
    };
    above = sum(above);
    equal = sum(equal);
    if (lane == 0) work.tile_rank[t] = detail::above_and_ties(above, equal);
  }
  grid.sync();

  // Exclusive sums over the tiles: each block sums its share, then adds what the blocks before it have.
  auto const share_begin = static_cast<std::uint32_t>(std::uint64_t{tiles} * blockIdx.x / gridDim.x);
  auto const share_end = static_cast<std::uint32_t>(std::uint64_t{tiles} * (blockIdx.x + 1) / gridDim.x);
  std::uint64_t sum = 0;
  for (auto t = share_begin + threadIdx.x; t < share_end; t += Tuning::finish_threads)
    sum += __ldcg(work.tile_rank + t);
  sum = reduce(memory.reduce_part).Sum(sum);
  if (threadIdx.x == 0) work.block_sum[blockIdx.x] = sum;
  grid.sync();
  sum = 0;
  for (auto b = threadIdx.x; b < blockIdx.x; b += Tuning::finish_threads) sum += __ldcg(work.block_sum + b);
  sum = reduce(memory.reduce_part).Sum(sum);
  if (threadIdx.x == 0) shared_before = sum;
  __syncthreads();
  auto before = shared_before;
  for (auto begin = share_begin; begin < share_end; begin += Tuning::finish_threads) {
    auto const t = begin + threadIdx.x;
    auto const own = t < share_end ? __ldcg(work.tile_rank + t) : std::uint64_t{0};
    std::uint64_t rank = 0, total = 0;
    scan(memory.scan_part).ExclusiveSum(own, rank, total);
    if (t < share_end) work.tile_rank[t] = before + rank;
    before += total;
    __syncthreads();
  }
  grid.sync();

  for (auto t = warp; t < tiles; t += warps) {
    auto const first = from.tile_first(t), size = from.tile_size(t);
    auto const rank = __ldcg(work.tile_rank + t);
    auto above = static_cast<std::uint32_t>(rank >> 32), equal = static_cast<std::uint32_t>(rank);
    for (std::uint32_t i = 0; i < size; i += 32) {
      auto const in = i + lane < size;
      auto const v = in ? from.flat(first + i + lane) : 0.0f;
      auto const m = magnitude_bits(v);
      auto const larger = __ballot_sync(0xffffffffu, in && m > kth), same = __ballot_sync(0xffffffffu, in && m == kth);
      auto const lower_lanes = (1u << lane) - 1;
      auto const my_equal = equal + static_cast<std::uint32_t>(__popc(same & lower_lanes));
      if (in && (m > kth || (m == kth && my_equal < ties))) {
        auto const to =
            above + static_cast<std::uint32_t>(__popc(larger & lower_lanes)) + (my_equal < ties ? my_equal : ties);
        kept_index[to] = from.index(first + i + lane);
        kept_value[to] = v;
      }
      above += static_cast<std::uint32_t>(__popc(larger));
      equal += static_cast<std::uint32_t>(__popc(same));
    }
  }
}

}  // namespace gradpress::kernel::cuda
