// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Threshold compaction on a CUDA stream. Opt-in: no umbrella includes it.

#include <gradpress/kernel/cuda/collect_above.cuh>

#include <cub/block/block_scan.cuh>

namespace gradpress::kernel::cuda {

/// Tuning numbers of the threshold compaction. None of them changes a result.
struct select_tuning {
  static constexpr unsigned rank_threads = 512;   ///< the one block that ranks the tiles
  static constexpr unsigned place_threads = 256;  ///< eight warps, a tile each
};

/// Byte offsets of the workspace's parts for n elements of which up to `capacity` are kept.
struct select_above_plan {
  std::size_t tile_first = 0, tile_size = 0, tile_to = 0, value = 0, index = 0, bytes = 0;
};
[[nodiscard]] constexpr select_above_plan plan_select_above(std::size_t n, std::size_t capacity) noexcept {
  select_above_plan p;
  workspace_layout memory;
  auto const tiles = std::size_t{collect_tiles(n)};
  p.tile_first = memory.take(sizeof(std::uint32_t) * tiles);
  p.tile_size = memory.take(sizeof(std::uint32_t) * tiles);
  p.tile_to = memory.take(sizeof(std::uint32_t) * tiles);
  p.value = memory.take(sizeof(float) * capacity);
  p.index = memory.take(sizeof(std::uint32_t) * capacity);
  p.bytes = memory.end;
  return p;
}
/// Bytes of device memory that `select_above` and `select_above_sum` need, 16-byte aligned.
[[nodiscard]] constexpr std::size_t select_above_workspace_bytes(std::size_t n, std::size_t capacity) noexcept {
  return plan_select_above(n, capacity).bytes;
}

/// Exclusive sums of the tiles' counts, one block: a table of 30 000 tiles is 60 rounds of a warm scan. A template, as
/// all kernels here, so that two files may include this header.
template <class Tuning>
__global__ void __launch_bounds__(Tuning::rank_threads)
    rank_tiles(std::uint32_t const* __restrict__ size, std::uint32_t tiles, std::uint32_t* __restrict__ before) {
  using scan = cub::BlockScan<std::uint32_t, static_cast<int>(Tuning::rank_threads)>;
  __shared__ typename scan::TempStorage memory;
  std::uint32_t sum = 0;
  for (std::uint32_t begin = 0; begin < tiles; begin += Tuning::rank_threads) {
    auto const t = begin + threadIdx.x;
    std::uint32_t rank = 0, total = 0;
    scan(memory).ExclusiveSum(t < tiles ? size[t] : 0u, rank, total);
    if (t < tiles) before[t] = sum + rank;
    sum += total;
    __syncthreads();
  }
}

/// From the pool to where each tile belongs; a warp a tile.
template <class Tuning>
__global__ void __launch_bounds__(Tuning::place_threads)
    place_tiles(candidate_pool pool, std::uint32_t const* __restrict__ before, std::uint32_t tiles,
                std::uint32_t* __restrict__ index, float* __restrict__ value) {
  auto const tile = blockIdx.x * (Tuning::place_threads / 32) + threadIdx.x / 32;
  if (tile >= tiles || *pool.used > pool.capacity) return;
  auto const from = pool.tile_first[tile], size = pool.tile_size[tile], to = before[tile];
  for (auto i = threadIdx.x % 32; i < size; i += 32) {
    index[to + i] = pool.index[from + i];
    value[to + i] = pool.value[from + i];
  }
}

/// Where the kept entries go; all pointers are device memory.
struct select_above_result {
  std::uint32_t* index;  ///< room for `capacity`
  float* value;          ///< room for as many
  std::size_t capacity;
  std::uint32_t* count;  ///< how many reach the threshold; if more than `capacity`, index and value are not written
  std::uint32_t* not_finite;  ///< becomes 1 where the signal has an infinity or a NaN; never cleared here
};

/// Keeps every entry of a = g + e with |a| >= tau and writes a, all of it.
///
/// - Threshold  the bits of tau as an integer; 0 keeps everything. NaN and infinity reach every finite tau.
/// - Order      indices ascending, values beside them; the same bits on every run and every device.
/// - Count      in device memory. A caller that sizes a message by it copies it to the host, which waits for the
///              stream; nothing here does.
/// - Cost       12 bytes an element and 24 for each that is kept; three kernels.
/// - Stream     queued; no allocation. `memory`: select_above_workspace_bytes(n, capacity) bytes on 16.
/// - Edges      n = 0 sets the count to 0. `a` must not overlap `g` or `e`.
[[nodiscard]] inline cudaError_t select_above_sum(cudaStream_t stream, float const* g, float const* e, float* a,
                                                  std::size_t n, std::uint32_t threshold, void* memory,
                                                  select_above_result to) {
  if (n > collect_max_size || to.capacity > collect_max_size) return cudaErrorInvalidValue;
  if (auto const error = cudaMemsetAsync(to.count, 0, sizeof *to.count, stream); error != cudaSuccess || n == 0)
    return error;
  auto const plan = plan_select_above(n, to.capacity);
  auto* const at = static_cast<std::byte*>(memory);
  auto const words = [at](std::size_t offset) { return reinterpret_cast<std::uint32_t*>(at + offset); };
  candidate_pool const pool{nullptr,
                            threshold,
                            to.count,
                            words(plan.tile_first),
                            words(plan.tile_size),
                            reinterpret_cast<float*>(at + plan.value),
                            words(plan.index),
                            static_cast<std::uint32_t>(to.capacity)};
  auto* const before = words(plan.tile_to);
  auto const tiles = collect_tiles(n);
  if (auto const error = detail::collect(stream, g, e, a, n, pool, to.not_finite); error != cudaSuccess) return error;
  if (auto const error =
          launch(stream, {1, select_tuning::rank_threads}, rank_tiles<select_tuning>, pool.tile_size, tiles, before);
      error != cudaSuccess)
    return error;
  constexpr auto warps = select_tuning::place_threads / 32;
  return launch(stream, {(tiles + warps - 1) / warps, select_tuning::place_threads}, place_tiles<select_tuning>, pool,
                before, tiles, to.index, to.value);
}

/// The same for x itself: 4 bytes an element.
[[nodiscard]] inline cudaError_t select_above(cudaStream_t stream, float const* x, std::size_t n,
                                              std::uint32_t threshold, void* memory, select_above_result to) {
  return select_above_sum(stream, x, nullptr, nullptr, n, threshold, memory, to);
}

}  // namespace gradpress::kernel::cuda
