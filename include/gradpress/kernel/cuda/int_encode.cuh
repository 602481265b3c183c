// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// 8, 4 or 2 bits an element and one scale a block, on a CUDA stream: encoding. Opt-in: no umbrella includes it.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/cuda/launch.cuh>
#include <gradpress/kernel/int_step.hpp>

#include <cstddef>

namespace gradpress::kernel::cuda {

/// Tuning numbers of the integer codes. None of them changes a result.
struct int_tuning {
  static constexpr unsigned threads = 256;      ///< a block of CUDA threads: eight warps
  static constexpr std::uint32_t round = 1024;  ///< elements that a warp holds in registers, 32 a lane
};

/// What one encoding reads and writes; all pointers are device memory.
struct int_encoding {
  float const* g;
  float const* e;  ///< may be null
  float* rest;     ///< null if e is; may be g or e
  std::uint32_t n, block, blocks;
  bool stochastic;
  std::uint64_t key;
  std::byte* codes;  ///< scales, then codes; on 4 bytes
  std::uint32_t* not_finite;
};

namespace detail {

template <bool Sum, bool Aligned>
__device__ __forceinline__ void load_round(int_encoding const& s, std::uint32_t at, std::uint32_t end, float4 (&v)[8]) {
#pragma unroll
  for (int u = 0; u < 8; ++u) {
    auto const i = at + static_cast<std::uint32_t>(u) * 128 + threadIdx.x % 32 * 4;
    v[u] = load4<Aligned>(s.g, i, end);
    if constexpr (Sum) v[u] = add4(v[u], load4<Aligned>(s.e, i, end));
  }
}

__device__ __forceinline__ std::uint32_t round_max(float4 const (&v)[8]) {
  std::uint32_t top = 0;
#pragma unroll
  for (int u = 0; u < 8; ++u)
#pragma unroll
    for (int j = 0; j < 4; ++j) top = max(top, magnitude_bits(component(v[u], j)));
  return top;
}

/// Copies `bytes` bytes from shared memory, one warp, in units as wide as `to` permits.
__device__ __forceinline__ void store_bytes(std::uint32_t const* from, std::byte* to, std::uint32_t bytes) {
  auto const lane = threadIdx.x % 32;
  bool const wide = reinterpret_cast<std::uintptr_t>(to) % 16 == 0;
  auto const whole = wide ? bytes / 16 * 16 : bytes / 4 * 4;
  if (wide)
    for (auto o = lane * 16; o < whole; o += 512)
      __stcs(reinterpret_cast<uint4*>(to + o), *reinterpret_cast<uint4 const*>(from + o / 4));
  else
    for (auto o = lane * 4; o < whole; o += 128) __stcs(reinterpret_cast<std::uint32_t*>(to + o), from[o / 4]);
  for (auto o = whole + lane; o < bytes; o += 32) to[o] = reinterpret_cast<std::byte const*>(from)[o];
}

}  // namespace detail

/// One warp a block of elements. Blocks of up to 1024 stay in registers between maximum and code; longer ones are read
/// twice, the second time from cache.
///
/// Lane l of round r holds four neighbours of each 128: loads and stores are coalesced and 128 bits wide. The random
/// words, of which a lane makes two blocks of four, and the codes change hands through shared memory, 1 KiB a warp.
template <int Bits, bool Sum, bool Aligned>
__global__ void __launch_bounds__(int_tuning::threads, 3) int_encode_blocks(int_encoding s) {
  constexpr auto round = int_tuning::round;
  constexpr unsigned warps = int_tuning::threads / 32;
  alignas(16) __shared__ std::uint32_t exchange[warps][256];

  auto const lane = threadIdx.x % 32;
  auto const which = blockIdx.x * warps + threadIdx.x / 32;
  if (which >= s.blocks) return;
  auto* const words = exchange[threadIdx.x / 32];
  auto const begin = which * s.block;
  auto const end = s.n - begin < s.block ? s.n : begin + s.block, size = end - begin;

  float4 v[8];
  detail::load_round<Sum, Aligned>(s, begin, end, v);
  auto top = detail::round_max(v);
  for (auto done = round; done < size; done += round) {
    detail::load_round<Sum, Aligned>(s, begin + done, end, v);
    top = max(top, detail::round_max(v));
  }
  top = __reduce_max_sync(0xffffffffu, top);
  auto const step = make_int_step(top, Bits, s.stochastic);
  if (lane == 0) {
    reinterpret_cast<float*>(s.codes)[which] = step.scale;
    if (top >= not_finite_from) atomicOr(s.not_finite, 1u);
  }

  for (std::uint32_t done = 0; done < size; done += round) {
    auto const at = begin + done;
    if (size > round) detail::load_round<Sum, Aligned>(s, at, end, v);
    std::uint32_t random[8] = {};
    if (s.stochastic) {
      for (auto b = lane; b < 64; b += 32) {
        auto const r = philox(s.key, at / 16 + b);
        *reinterpret_cast<uint4*>(words + 4 * b) = make_uint4(r.word[0], r.word[1], r.word[2], r.word[3]);
      }
      __syncwarp();
#pragma unroll
      for (unsigned u = 0; u < 8; ++u) random[u] = words[u * 32 + lane];
      __syncwarp();
    }
#pragma unroll
    for (unsigned u = 0; u < 8; ++u) {
      std::uint32_t packed = 0;
      float4 left{};
      auto const code = [&](int j) {
        auto const x = component(v[u], j);
        auto const q = int_code(x, step, s.stochastic, random[u] >> (8 * j) & 0xffu);
        packed |= (static_cast<std::uint32_t>(q) & ((1u << Bits) - 1)) << (Bits * j);
        return x - static_cast<float>(q) * step.scale;
      };
      left.x = code(0);
      left.y = code(1);
      left.z = code(2);
      left.w = code(3);
      if constexpr (Sum) store4<Aligned>(s.rest, at + u * 128 + lane * 4, end, left);
      // Neighbouring lanes complete a word; the first of them has it in the right order.
      if constexpr (Bits <= 4) packed |= __shfl_xor_sync(0xffffffffu, packed, 1) << (4 * Bits);
      if constexpr (Bits <= 2) packed |= __shfl_xor_sync(0xffffffffu, packed, 2) << (8 * Bits);
      if (lane % (8 / Bits) == 0) words[(u * 32 + lane) / (8 / Bits)] = packed;
    }
    __syncwarp();
    auto const left = end - at < round ? end - at : round;
    detail::store_bytes(words, s.codes + 4 * std::size_t{s.blocks} + std::size_t{at} * Bits / 8, (left * Bits + 7) / 8);
    __syncwarp();
  }
}

namespace detail {

template <bool Sum, bool Aligned>
[[nodiscard]] cudaError_t int_encode(cudaStream_t stream, int bits, int_encoding const& s) {
  constexpr unsigned warps = int_tuning::threads / 32;
  grid_shape const grid{(s.blocks + warps - 1) / warps, int_tuning::threads};
  if (bits == 8) return launch(stream, grid, int_encode_blocks<8, Sum, Aligned>, s);
  if (bits == 4) return launch(stream, grid, int_encode_blocks<4, Sum, Aligned>, s);
  if (bits == 2) return launch(stream, grid, int_encode_blocks<2, Sum, Aligned>, s);
  return cudaErrorInvalidValue;
}

/// Largest n: the end of the last round still fits 32 bits.
inline constexpr std::size_t int_max_size = std::size_t{0xffffffff} - 2 * int_tuning::round;

[[nodiscard]] inline bool int_sizes_fit(std::size_t n, int bits, std::size_t block, std::byte const* codes) {
  return n <= int_max_size && block != 0 && block % 64 == 0 && block <= int_max_size &&
         (bits == 8 || bits == 4 || bits == 2) && reinterpret_cast<std::uintptr_t>(codes) % 4 == 0;
}

}  // namespace detail

/// Codes of g + e, and rest = g + e - decoded, in one pass.
///
/// - Layout, rounding, random numbers: those of kernel/stochastic_int.hpp, bit for bit.
/// - Bits    8, 4 or 2; `block` a multiple of 64; other values give cudaErrorInvalidValue, as do codes off 4 bytes.
/// - Cost    reads 8 bytes an element, writes 4 and the codes; one launch. Best for block = 1024. g, e and rest on 16
///           bytes are read and written 128 bits at a time, codes too if codes + 4 ceil(n / block) is on 16 bytes.
/// - Stream  queued; no allocation, no workspace, no wait.
/// - Build   without -use_fast_math: the codes would differ from those of other ranks.
/// - Edges   n = 0 does nothing. rest may be g or e. Infinity and NaN set *not_finite to 1 (it is never cleared here)
///           and what was written means nothing.
[[nodiscard]] inline cudaError_t int_encode_sum(cudaStream_t stream, float const* g, float const* e, float* rest,
                                                std::size_t n, int bits, std::size_t block, bool stochastic,
                                                std::uint64_t key, std::byte* codes, std::uint32_t* not_finite) {
  if (!detail::int_sizes_fit(n, bits, block, codes)) return cudaErrorInvalidValue;
  if (n == 0) return cudaSuccess;
  auto const blocks = static_cast<std::uint32_t>((n + block - 1) / block);
  int_encoding const s{
      g,   e,     rest,      static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(block), blocks, stochastic,
      key, codes, not_finite};
  return aligned16(g, e, rest) ? detail::int_encode<true, true>(stream, bits, s)
                               : detail::int_encode<true, false>(stream, bits, s);
}

/// Codes of x. Reads 4 bytes an element and writes the codes; otherwise as int_encode_sum.
[[nodiscard]] inline cudaError_t int_encode(cudaStream_t stream, float const* x, std::size_t n, int bits,
                                            std::size_t block, bool stochastic, std::uint64_t key, std::byte* codes,
                                            std::uint32_t* not_finite) {
  if (!detail::int_sizes_fit(n, bits, block, codes)) return cudaErrorInvalidValue;
  if (n == 0) return cudaSuccess;
  auto const blocks = static_cast<std::uint32_t>((n + block - 1) / block);
  int_encoding const s{
      x,   nullptr, nullptr,   static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(block), blocks, stochastic,
      key, codes,   not_finite};
  return aligned16(x) ? detail::int_encode<false, true>(stream, bits, s)
                      : detail::int_encode<false, false>(stream, bits, s);
}

}  // namespace gradpress::kernel::cuda
