// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every CUDA kernel here shares: one way to launch, one way to touch four floats.

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

namespace gradpress::kernel::cuda {

/// Blocks and threads of one launch, and what may be asked besides.
struct grid_shape {
  unsigned blocks = 1, threads = 1;
  bool cooperative = false;  ///< resident as a whole, so its blocks may wait for one another
  bool early = false;        ///< may start while the kernel before it still runs, and has to `wait_for_previous`
};

/// From a kernel: all that the kernels before it in the stream wrote is there. What an `early` grid starts with.
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// From a kernel: an `early` grid after it may start as soon as all its blocks have said so or ended.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Queues `kernel` on `stream` and returns at once. Written without the triple chevron so that any C++ compiler parses
/// it.
template <class... Parameter>
[[nodiscard]] cudaError_t launch(cudaStream_t stream, grid_shape grid, void (*kernel)(Parameter...),
                                 std::type_identity_t<Parameter>... argument) {
  cudaLaunchAttribute asked[2] = {};
  unsigned count = 0;
  if (grid.cooperative) {
    asked[count].id = cudaLaunchAttributeCooperative;
    asked[count++].val.cooperative = 1;
  }
  if (grid.early) {  // devices before compute capability 9 do not know it
    int device = 0, major = 0;
    if (auto const error = cudaGetDevice(&device); error != cudaSuccess) return error;
    if (auto const error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        error != cudaSuccess)
      return error;
    if (major >= 9) {
      asked[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      asked[count++].val.programmaticStreamSerializationAllowed = 1;
    }
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid.blocks);
  config.blockDim = dim3(grid.threads);
  config.stream = stream;
  config.attrs = asked;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, argument...);
}

/// True where every pointer permits 128-bit accesses.
template <class... T>
[[nodiscard]] bool aligned16(T const*... p) {
  return ((reinterpret_cast<std::uintptr_t>(p) % 16 == 0) && ...);
}

/// x[i .. i+3], zeros from n on; i is a multiple of 4. Read once: the lines need not stay in L2.
template <bool Aligned>
__device__ __forceinline__ float4 load4(float const* __restrict__ x, std::uint32_t i, std::uint32_t n) {
  if (Aligned && i < n && n - i >= 4) return __ldcs(reinterpret_cast<float4 const*>(x + i));
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (i < n) v.x = __ldcs(x + i);
  if (i < n && n - i > 1) v.y = __ldcs(x + i + 1);
  if (i < n && n - i > 2) v.z = __ldcs(x + i + 2);
  if (i < n && n - i > 3) v.w = __ldcs(x + i + 3);
  return v;
}

/// The counterpart of `load4`.
template <bool Aligned>
__device__ __forceinline__ void store4(float* __restrict__ x, std::uint32_t i, std::uint32_t n, float4 v) {
  if (Aligned && i < n && n - i >= 4) {
    __stcs(reinterpret_cast<float4*>(x + i), v);
    return;
  }
  if (i < n) x[i] = v.x;
  if (i < n && n - i > 1) x[i + 1] = v.y;
  if (i < n && n - i > 2) x[i + 2] = v.z;
  if (i < n && n - i > 3) x[i + 3] = v.w;
}

__device__ __forceinline__ float4 add4(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/// Component j of v; j is a constant after unrolling.
__device__ __forceinline__ float component(float4 v, int j) { return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w; }

/// Bits of |v|: as integers they are ordered as the magnitudes are.
__device__ __forceinline__ std::uint32_t magnitude_bits(float v) { return __float_as_uint(v) & 0x7fffffffu; }

/// Magnitudes from here on are infinite or not a number.
inline constexpr std::uint32_t not_finite_from = 0x7f800000u;

}  // namespace gradpress::kernel::cuda
