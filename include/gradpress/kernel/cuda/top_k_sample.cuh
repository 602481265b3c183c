// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// First pass of the CUDA top-k: a lower threshold from a sample.

#include <gradpress/kernel/cuda/launch.cuh>
#include <gradpress/kernel/cuda/top_k_plan.hpp>

#include <cub/block/block_scan.cuh>

namespace gradpress::kernel::cuda {

/// Where sample q of `samples` lies: runs of neighbours, one run at a scrambled place of each of equally wide strata.
/// A function of (q, samples, n) alone. Layers of different scale each get their share.
__host__ __device__ __forceinline__ std::uint32_t sample_position(std::uint32_t q, std::uint32_t samples,
                                                                  std::uint32_t n) {
  constexpr auto run = top_k_tuning::run;
  if (samples == n) return q;
  auto const strata = samples / run, s = q / run;
  auto const begin = static_cast<std::uint32_t>(std::uint64_t{n} * s / strata);
  auto const end = static_cast<std::uint32_t>(std::uint64_t{n} * (s + 1) / strata);
  std::uint32_t scrambled = (s + 1) * 0x9E3779B9u;
  scrambled = (scrambled ^ (scrambled >> 16)) * 0x85EBCA6Bu;
  scrambled ^= scrambled >> 13;
  return begin + scrambled % (end - begin - run + 1) + q % run;
}

/// Where bin b of 2^Bits lies in a histogram that many blocks add to: neighbouring bins, which are hot together, are a
/// line of 128 bytes apart, as additions to one line wait for one another.
template <std::uint32_t Bits>
__device__ __forceinline__ std::uint32_t apart(std::uint32_t b) {
  constexpr auto lines = (1u << Bits) / 32;
  return b % lines * 32 + b / lines;
}

/// Counts the samples by the leading bits of |g + e| (|g| without Sum); the block that ends last turns the counts into
/// the threshold: the highest bin edge with at least `rank` samples at or above it, or 0.
///
/// Integer counts only, so the order of the atomics does not show.
template <bool Sum>
__global__ void __launch_bounds__(top_k_tuning::threads)
    top_k_sample(float const* __restrict__ g, float const* __restrict__ e, std::uint32_t n, std::uint32_t samples,
                 std::uint32_t rank, top_k_workspace work) {
  using tune = top_k_tuning;
  constexpr std::uint32_t bins = 1u << tune::sample_bits, mine = bins / tune::threads;
  using scan = cub::BlockScan<std::uint32_t, static_cast<int>(tune::threads)>;
  __shared__ typename scan::TempStorage scan_memory;
  __shared__ std::uint32_t histogram[bins + bins / 32 + bins / 256];  // with gaps: lanes find it in different banks
  __shared__ bool last;

  let_next_start();
#pragma unroll
  for (std::uint32_t r = 0; r < tune::samples_a_thread; ++r) {
    auto const q = (blockIdx.x * tune::samples_a_thread + r) * tune::threads + threadIdx.x;
    if (q < samples) {
      auto const i = sample_position(q, samples, n);
      auto const a = Sum ? g[i] + e[i] : g[i];
      atomicAdd(work.sample_histogram + apart<tune::sample_bits>(magnitude_bits(a) >> (31 - tune::sample_bits)), 1u);
    }
  }

  __threadfence();  // the counts above are visible before the ticket is
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(work.ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();

  auto const at = [](std::uint32_t bin) { return bin + bin / 32 + bin / 256; };
#pragma unroll
  for (std::uint32_t b = 0; b < mine; ++b) {
    auto const place = b * tune::threads + threadIdx.x;
    histogram[at(place / 32 + place % 32 * (bins / 32))] = __ldcg(work.sample_histogram + place);
  }
  __syncthreads();
  auto const top = bins - threadIdx.x * mine;  // thread 0 has the highest bins
  std::uint32_t count = 0, above = 0;
  for (std::uint32_t b = 0; b < mine; ++b) count += histogram[at(top - 1 - b)];
  scan(scan_memory).ExclusiveSum(count, above);
  if (above >= rank || above + count < rank) return;
  auto bin = top;
  while (above < rank) above += histogram[at(--bin)];
  *work.lower = bin << (31 - tune::sample_bits);
}

}  // namespace gradpress::kernel::cuda
