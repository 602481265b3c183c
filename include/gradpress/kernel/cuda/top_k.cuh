// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exact, deterministic top-k on a CUDA stream. Opt-in: no umbrella includes it.

#include <gradpress/kernel/cuda/collect_above.cuh>
#include <gradpress/kernel/cuda/launch.cuh>
#include <gradpress/kernel/cuda/top_k_finish.cuh>
#include <gradpress/kernel/cuda/top_k_plan.hpp>
#include <gradpress/kernel/cuda/top_k_sample.cuh>

#include <algorithm>

namespace gradpress::kernel::cuda {

/// Where the kept entries go; all pointers are device memory.
struct top_k_result {
  std::uint32_t* index;       ///< min(k, n) of them, ascending
  float* value;               ///< as many, beside the indices
  std::uint32_t* not_finite;  ///< becomes 1 where the signal has an infinity or a NaN; never cleared here
};

namespace detail {

/// How many blocks of the finish pass may be resident: one a multiprocessor.
[[nodiscard]] inline cudaError_t finish_blocks(unsigned& blocks) {
  int device = 0, multiprocessors = 0;
  if (auto const error = cudaGetDevice(&device); error != cudaSuccess) return error;
  auto const error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  blocks = std::min(static_cast<unsigned>(multiprocessors), top_k_tuning::max_finish_blocks);
  return error;
}

template <bool Sum>
[[nodiscard]] cudaError_t top_k(cudaStream_t stream, float const* g, float const* e, float* a, std::size_t n,
                                std::size_t k, void* memory, top_k_result to) {
  using tune = top_k_tuning;
  if (n == 0) return cudaSuccess;
  if (n > collect_max_size) return cudaErrorInvalidValue;
  auto const plan = plan_top_k(n, k);
  auto work = bind(plan, memory);

  if (auto const error = cudaMemsetAsync(memory, 0, plan.cleared, stream); error != cudaSuccess) return error;
  if (plan.k == 0) {  // a threshold that nothing reaches
    work.pool.lower = nullptr;
    work.pool.threshold = 0xffffffffu;
  } else {
    constexpr auto a_block = tune::threads * tune::samples_a_thread;
    grid_shape const grid{(plan.samples + a_block - 1) / a_block, tune::threads};
    if (auto const error = launch(stream, grid, top_k_sample<Sum>, g, e, plan.n, plan.samples, plan.rank, work);
        error != cudaSuccess)
      return error;
  }
  if (auto const error = collect(stream, g, e, a, n, work.pool, to.not_finite); error != cudaSuccess || plan.k == 0)
    return error;

  unsigned blocks = 1;
  if (auto const error = finish_blocks(blocks); error != cudaSuccess) return error;
  // A warp takes a tile: more blocks than there are tiles for would idle at the barriers.
  constexpr auto warps = tune::finish_threads / 32;
  blocks = std::min(blocks, (plan.tiles + warps - 1) / warps);
  return launch(stream, {blocks, tune::finish_threads, true}, top_k_finish<tune>, Sum ? a : g, plan.n, plan.k,
                plan.tiles, work, to.index, to.value);
}

}  // namespace detail

/// Keeps the k entries of x that come first by (|x| descending, index ascending).
///
/// - Order   indices ascending, values beside them. The same bits on every run and every device.
/// - Count   min(k, n), known before the call: nothing has to reach the host.
/// - Cost    4 n bytes plus k-sized work; three kernels and a memset of 56 KiB. 20 n bytes more where the sample
///           misled: more than 4 k + 65536 candidates (many equal values), or fewer than k.
/// - Stream  queued on `stream`; no allocation, no synchronisation, no wait on the host.
/// - Memory  `memory`: `top_k_workspace_bytes(n, k)` bytes of device memory, 16-byte aligned, free again when the
///           stream gets there. x and the results need no alignment; x on 16 bytes is read 128 bits at a time.
/// - Edges   k = 0 only sets the flag; n = 0 does nothing; -0 and 0 are equal in magnitude. Infinity and NaN set the
///           flag and the results must not be used, though nothing is written outside them.
/// - Source  threshold from a sample and an exact selection among the survivors; the k-th magnitude by radix select,
///           the idea of Alabi et al., Fast K-selection Algorithms for Graphics Processors, JEA 2012.
[[nodiscard]] inline cudaError_t top_k(cudaStream_t stream, float const* x, std::size_t n, std::size_t k, void* memory,
                                       top_k_result to) {
  return detail::top_k<false>(stream, x, nullptr, nullptr, n, k, memory, to);
}

/// The same for a = g + e, which is written in full, kept entries included: whoever commits the step subtracts what was
/// delivered. `a` must not overlap `g` or `e`: nothing may change before the commit. Costs 12 n bytes.
[[nodiscard]] inline cudaError_t top_k_sum(cudaStream_t stream, float const* g, float const* e, float* a, std::size_t n,
                                           std::size_t k, void* memory, top_k_result to) {
  return detail::top_k<true>(stream, g, e, a, n, k, memory, to);
}

}  // namespace gradpress::kernel::cuda
