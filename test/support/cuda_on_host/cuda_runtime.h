// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The part of the CUDA runtime and of the device functions that our kernels use, on the host. Found before the
/// toolkit's header by tests that run kernels without a device.

#include "block_machine.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define GRADPRESS_CUDA_ON_HOST 1

// Vector types, with the device's alignment.
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  explicit dim3(unsigned a) : x(a) {}
};

using cuda_on_host::blockDim;
using cuda_on_host::blockIdx;
using cuda_on_host::gridDim;
using cuda_on_host::threadIdx;

// Memory.
template <class T>
T __ldcs(T const* p) {
  return *p;
}
template <class T>
T __ldcg(T const* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
T atomicAdd(T* p, T v) {
  return std::atomic_ref<T>(*p).fetch_add(v);
}
template <class T>
T atomicOr(T* p, T v) {
  return std::atomic_ref<T>(*p).fetch_or(v);
}
inline void __threadfence() {  // by a read-modify-write: a sanitizer sees what it orders, and does not see fences
  static std::atomic<int> turn{0};
  turn.fetch_add(1, std::memory_order_seq_cst);
}

// Arithmetic.
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline int __popc(unsigned v) { return std::popcount(v); }

// Exchanges between threads. Every mask must name the whole warp.
inline void __syncthreads() { cuda_on_host::block_machine::here().sync_block(); }
inline int __syncthreads_or(int v) {
  auto& m = cuda_on_host::block_machine::here();
  m.posted[m.thread] = v != 0;
  m.sync_block();
  int any = 0;
  for (auto const p : m.posted) any |= p != 0;
  m.sync_block();
  return any;
}
namespace cuda_on_host {
template <class T, class Read>
auto exchange(unsigned mask, T v, Read const& read) {
  static_assert(sizeof(T) <= 8);
  if (mask != 0xffffffffu) std::abort();
  auto& m = block_machine::here();
  std::memcpy(&m.posted[m.thread], &v, sizeof v);
  m.sync_warp();
  auto const first = m.thread / 32 * 32;
  auto const result = read([&](unsigned lane) {
    T other;
    std::memcpy(&other, &m.posted[first + lane % 32], sizeof other);
    return other;
  });
  m.sync_warp();
  return result;
}
}  // namespace cuda_on_host
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int with) {
  auto const lane = threadIdx.x % 32;
  return cuda_on_host::exchange(mask, v, [&](auto const& of) { return of(lane ^ static_cast<unsigned>(with)); });
}
template <class T>
T __shfl_sync(unsigned mask, T v, int from) {
  return cuda_on_host::exchange(mask, v, [&](auto const& of) { return of(static_cast<unsigned>(from)); });
}
inline void __syncwarp() { cuda_on_host::block_machine::here().sync_warp(); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned v) {
  return cuda_on_host::exchange(mask, v, [&](auto const& of) {
    unsigned most = 0;
    for (unsigned lane = 0; lane < 32; ++lane) most = std::max(most, of(lane));
    return most;
  });
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned v) {
  return cuda_on_host::exchange(mask, v, [&](auto const& of) {
    unsigned sum = 0;
    for (unsigned lane = 0; lane < 32; ++lane) sum += of(lane);
    return sum;
  });
}
inline int __all_sync(unsigned mask, int v) {
  return cuda_on_host::exchange(mask, v, [&](auto const& of) {
    bool all = true;
    for (unsigned lane = 0; lane < 32; ++lane) all = all && of(lane) != 0;
    return static_cast<int>(all);
  });
}
inline unsigned __ballot_sync(unsigned mask, int v) {
  return cuda_on_host::exchange(mask, v, [&](auto const& of) {
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(of(lane) != 0) << lane;
    return bits;
  });
}

// The host's side: one stream, every call done when it returns.
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
using cudaStream_t = void*;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor };
enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative, cudaLaunchAttributeProgrammaticStreamSerialization };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int cooperative, programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
inline char const* cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "error"; }
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) { return *d = 0, cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr, int) { return *v = 3, cudaSuccess; }
inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  *p = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
  return *p != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* p) { return std::free(p), cudaSuccess; }
inline cudaError_t cudaMemcpy(void* to, void const* from, std::size_t bytes, cudaMemcpyKind) {
  if (bytes != 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* p, int v, std::size_t bytes, cudaStream_t) {
  return std::memset(p, v, bytes), cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* s) { return *s = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

template <class... Parameter, class... Argument>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Parameter...), Argument&&... argument) {
  bool cooperative = false;
  for (unsigned a = 0; a < config->numAttrs; ++a) cooperative |= config->attrs[a].val.cooperative != 0;
  if (config->gridDim.x == 0 || config->blockDim.x == 0 || config->blockDim.x > 1024 || config->blockDim.x % 32 != 0)
    return cudaErrorInvalidValue;
  cuda_on_host::execute(config->gridDim.x, config->blockDim.x, cooperative, [&] { kernel(argument...); });
  return cudaSuccess;
}
