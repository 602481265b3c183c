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

/// Adds 1 to `counts[bin]` for the lanes where `in`; one addition where a whole warp agrees, as it does on equal values.
__device__ __forceinline__ void count_bin(std::uint32_t* counts, std::uint32_t bin, bool in) {
  constexpr auto all = 0xffffffffu;
  auto const first = __shfl_sync(all, bin, 0);
  if (__all_sync(all, in && bin == first)) {
    if (threadIdx.x % 32 == 0) atomicAdd(counts + bin, 32u);
  } else if (in) {
    atomicAdd(counts + bin, 1u);
  }
}

}  // namespace detail

/// Writes the k entries that are first by (|x| descending, index ascending), in index order.
///
/// - Grid   cooperative: blocks of `finish_threads`, all resident.
/// - Steps  three digits of the k-th magnitude, each from a histogram over the candidates; then each block counts and
///          sums a share of neighbouring tiles, and writes their entries. Four grid barriers in between. Everything
///          exchanged between blocks is an integer sum.
/// - Slow   where the sample misled (fewer than k candidates, or more than there is room for) every step reads x
///          instead: 20 bytes an element, the same result.
/// 0 < k <= n.
template <class Tuning>
__global__ void __launch_bounds__(Tuning::finish_threads, 1)
    top_k_finish(float const* x, std::uint32_t n, std::uint32_t k, std::uint32_t tiles, top_k_workspace work,
                 std::uint32_t* __restrict__ kept_index, float* __restrict__ kept_value) {
  constexpr std::uint32_t bins = 1u << Tuning::digit_bits, batch = Tuning::finish_batch;
  static_assert(bins == 4 * Tuning::finish_threads);  // a thread has four neighbouring bins
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
  auto const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  constexpr auto warps = Tuning::finish_threads / 32;
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
    auto const stride = gridDim.x * Tuning::finish_threads;
    for (std::uint64_t begin = blockIdx.x * Tuning::finish_threads; begin < from.flat_size;
         begin += std::uint64_t{batch} * stride) {
      std::uint32_t m[batch];
#pragma unroll
      for (std::uint32_t u = 0; u < batch; ++u) {
        auto const i = begin + std::uint64_t{u} * stride + threadIdx.x;
        m[u] = i < from.flat_size ? magnitude_bits(from.flat(static_cast<std::uint32_t>(i))) : 0xffffffffu;
      }
#pragma unroll
      for (std::uint32_t u = 0; u < batch; ++u) {
        if (begin + std::uint64_t{u} * stride >= from.flat_size) break;
        detail::count_bin(histogram, m[u] >> shift & wide, m[u] != 0xffffffffu && (m[u] & decided) == kth);
      }
    }
    __syncthreads();
    for (auto b = threadIdx.x; b < bins; b += Tuning::finish_threads)
      if (histogram[b] != 0) atomicAdd(sums + b, histogram[b]);
    grid.sync();

    auto const top = bins - threadIdx.x * 4;  // thread 0 has the highest bins
    auto const four = __ldcg(reinterpret_cast<uint4 const*>(sums + top - 4));
    std::uint32_t const here[4] = {four.w, four.z, four.y, four.x};
    std::uint64_t above = 0;
    scan(memory.scan_part).ExclusiveSum(std::uint64_t{here[0]} + here[1] + here[2] + here[3], above);
#pragma unroll
    for (std::uint32_t b = 0; b < 4; ++b) {
      if (above < wanted && above + here[b] >= wanted) {
        shared_digit = top - 1 - b;
        shared_above = static_cast<std::uint32_t>(above);
      }
      above += here[b];
    }
    __syncthreads();
    kth |= shared_digit << shift;
    decided |= wide << shift;
    wanted -= shared_above;
    __syncthreads();
  }
  auto const ties = wanted;  // of the entries equal to the k-th, so many are kept: those of lowest index

  // A block has a share of neighbouring tiles, a warp of it a tile at a time.
  auto const share_begin = static_cast<std::uint32_t>(std::uint64_t{tiles} * blockIdx.x / gridDim.x);
  auto const share_end = static_cast<std::uint32_t>(std::uint64_t{tiles} * (blockIdx.x + 1) / gridDim.x);
  for (auto t = share_begin + warp; t < share_end; t += warps) {
    auto const first = from.tile_first(t), size = from.tile_size(t);
    std::uint32_t above = 0, equal = 0;
    for (std::uint32_t begin = 0; begin < size; begin += 32 * batch) {
#pragma unroll
      for (std::uint32_t u = 0; u < batch; ++u) {
        auto const i = begin + u * 32 + lane;
        auto const m = i < size ? magnitude_bits(from.flat(first + i)) : 0u;
        above += m > kth;
        equal += i < size && m == kth;
      }
    }
    above = __reduce_add_sync(0xffffffffu, above);
    equal = __reduce_add_sync(0xffffffffu, equal);
    if (lane == 0) work.tile_rank[t] = detail::above_and_ties(above, equal);
  }
  __syncthreads();

  // Exclusive sums: over the share, then of the shares before it.
  std::uint64_t before = 0;
  for (auto begin = share_begin; begin < share_end; begin += Tuning::finish_threads) {
    auto const t = begin + threadIdx.x;
    auto const own = t < share_end ? work.tile_rank[t] : std::uint64_t{0};
    std::uint64_t rank = 0, total = 0;
    scan(memory.scan_part).ExclusiveSum(own, rank, total);
    if (t < share_end) work.tile_rank[t] = before + rank;
    before += total;
    __syncthreads();
  }
  if (threadIdx.x == 0) work.block_sum[blockIdx.x] = before;
  grid.sync();
  before = 0;
  for (auto b = threadIdx.x; b < blockIdx.x; b += Tuning::finish_threads) before += __ldcg(work.block_sum + b);
  before = reduce(memory.reduce_part).Sum(before);
  if (threadIdx.x == 0) shared_before = before;
  __syncthreads();

  for (auto t = share_begin + warp; t < share_end; t += warps) {
    auto const first = from.tile_first(t), size = from.tile_size(t);
    auto const rank = shared_before + work.tile_rank[t];
    auto above = static_cast<std::uint32_t>(rank >> 32), equal = static_cast<std::uint32_t>(rank);
    for (std::uint32_t begin = 0; begin < size; begin += 32 * batch) {
      float v[batch];
      std::uint32_t index[batch];
#pragma unroll
      for (std::uint32_t u = 0; u < batch; ++u) {
        auto const i = begin + u * 32 + lane;
        v[u] = i < size ? from.flat(first + i) : 0.0f;
        index[u] = i < size ? from.index(first + i) : 0u;
      }
#pragma unroll
      for (std::uint32_t u = 0; u < batch; ++u) {
        if (begin + u * 32 >= size) break;
        auto const in = begin + u * 32 + lane < size;
        auto const m = magnitude_bits(v[u]);
        auto const larger = __ballot_sync(0xffffffffu, in && m > kth),
                   same = __ballot_sync(0xffffffffu, in && m == kth);
        auto const lower_lanes = (1u << lane) - 1;
        auto const my_equal = equal + static_cast<std::uint32_t>(__popc(same & lower_lanes));
        if (in && (m > kth || (m == kth && my_equal < ties))) {
          auto const to =
              above + static_cast<std::uint32_t>(__popc(larger & lower_lanes)) + (my_equal < ties ? my_equal : ties);
          kept_index[to] = index[u];
          kept_value[to] = v[u];
        }
        above += static_cast<std::uint32_t>(__popc(larger));
        equal += static_cast<std::uint32_t>(__popc(same));
      }
    }
  }
}

}  // namespace gradpress::kernel::cuda
