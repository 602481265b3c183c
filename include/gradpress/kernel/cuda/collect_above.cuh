// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The one pass over all n elements: those that reach a threshold go into a pool, with a table entry a tile.

#include <gradpress/kernel/cuda/candidate_pool.hpp>
#include <gradpress/kernel/cuda/launch.cuh>

#include <cub/block/block_scan.cuh>

namespace gradpress::kernel::cuda {

/// Collects x with |x| at or above the threshold, where x = g, or x = a = g + e, which is written, all of it.
///
/// - Grid   one block a tile.
/// - Order  inside a tile by index. The tile's place in the pool comes from one atomic, so it varies from run to run;
///          whoever reads the pool in the order of the table sees the same sequence every time.
/// - Room   where the pool is full only the counting goes on: `used` tells.
/// - Cost   reads 4 bytes an element (8 with Sum), writes 4 with Sum.
/// `not_finite` becomes 1 where an x is infinite or not a number, and is left alone otherwise.
template <bool Sum, bool Aligned>
__global__ void __launch_bounds__(collect_tuning::threads, 4)
    collect_above(float const* __restrict__ g, float const* __restrict__ e, float* __restrict__ a, std::uint32_t n,
                  candidate_pool pool, std::uint32_t* __restrict__ not_finite) {
  using tune = collect_tuning;
  constexpr int vectors = static_cast<int>(tune::vectors);
  // One 16-bit count for each of the thread's vectors: a row of 256 vectors has at most 1024 candidates.
  static_assert(tune::vectors == 4 && tune::threads * 4 < 65536);
  using scan = cub::BlockScan<std::uint64_t, static_cast<int>(tune::threads)>;
  __shared__ typename scan::TempStorage scan_memory;
  __shared__ std::uint32_t shared_first;

  auto const tile = blockIdx.x;
  auto const begin = tile * tune::tile + threadIdx.x * 4;
  float4 x[vectors];
#pragma unroll
  for (int u = 0; u < vectors; ++u) {
    auto const i = begin + static_cast<std::uint32_t>(u) * tune::threads * 4;
    x[u] = load4<Aligned>(g, i, n);
    if constexpr (Sum) x[u] = add4(x[u], load4<Aligned>(e, i, n));
  }
  if constexpr (Sum) {
#pragma unroll
    for (int u = 0; u < vectors; ++u)
      store4<Aligned>(a, begin + static_cast<std::uint32_t>(u) * tune::threads * 4, n, x[u]);
  }

  wait_for_previous();  // for the threshold; what is above does not need it
  auto const lower = pool.lower != nullptr ? __ldcg(pool.lower) : pool.threshold;
  std::uint64_t counts = 0;
  bool bad = false;
#pragma unroll
  for (int u = 0; u < vectors; ++u) {
    auto const i = begin + static_cast<std::uint32_t>(u) * tune::threads * 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      auto const m = magnitude_bits(component(x[u], j));
      bad |= m >= not_finite_from;
      counts += std::uint64_t{m >= lower && i + static_cast<std::uint32_t>(j) < n} << (16 * u);
    }
  }
  if (bad) atomicOr(not_finite, 1u);
  if (!__syncthreads_or(counts != 0)) {
    if (threadIdx.x == 0) {
      pool.tile_first[tile] = 0;
      pool.tile_size[tile] = 0;
    }
    return;
  }

  std::uint64_t before = 0, total = 0;
  scan(scan_memory).ExclusiveSum(counts, before, total);
  auto const field = [](std::uint64_t packed, int u) {
    return static_cast<std::uint32_t>(packed >> (16 * u)) & 0xffffu;
  };
  if (threadIdx.x == 0) {
    auto const size = field(total, 0) + field(total, 1) + field(total, 2) + field(total, 3);
    shared_first = atomicAdd(pool.used, size);
    pool.tile_first[tile] = shared_first;
    pool.tile_size[tile] = size;
  }
  __syncthreads();
  auto row = shared_first;
#pragma unroll
  for (int u = 0; u < vectors; ++u) {
    auto const i = begin + static_cast<std::uint32_t>(u) * tune::threads * 4;
    auto to = row + field(before, u);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      auto const v = component(x[u], j);
      if (magnitude_bits(v) >= lower && i + static_cast<std::uint32_t>(j) < n) {
        if (to < pool.capacity) {
          pool.value[to] = v;
          pool.index[to] = i + static_cast<std::uint32_t>(j);
        }
        ++to;
      }
    }
    row += field(total, u);
  }
}

namespace detail {

/// Launches the pass over g, or over a = g + e if a is not null. 0 < n <= collect_max_size.
[[nodiscard]] inline cudaError_t collect(cudaStream_t stream, float const* g, float const* e, float* a, std::size_t n,
                                         candidate_pool const& pool, std::uint32_t* not_finite) {
  bool const sum = a != nullptr, aligned = sum ? aligned16(g, e, a) : aligned16(g);
  auto const kernel = sum       ? aligned ? collect_above<true, true> : collect_above<true, false>
                            : aligned ? collect_above<false, true>
                                : collect_above<false, false>;
  bool const early = pool.lower != nullptr;  // its threshold comes from a kernel that lets it
  return launch(stream, {collect_tiles(n), collect_tuning::threads, false, early}, kernel, g, e, a,
                static_cast<std::uint32_t>(n), pool, not_finite);
}

}  // namespace detail
}  // namespace gradpress::kernel::cuda
