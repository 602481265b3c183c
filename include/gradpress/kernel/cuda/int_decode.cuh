// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// 8, 4 or 2 bits an element and one scale a block, on a CUDA stream: decoding. Opt-in: no umbrella includes it.

#include <gradpress/kernel/cuda/int_encode.cuh>
#include <gradpress/kernel/device/bits.hpp>

#include <type_traits>

namespace gradpress::kernel::cuda {

/// x = decoded, or with Add x += factor * decoded. Four neighbours a thread and step, four steps in flight.
template <int Bits, bool Add, bool Aligned>
__global__ void __launch_bounds__(int_tuning::threads, 4)  // with room for more blocks ptxas spills at 8 bits

    int_decode_elements(std::byte const* __restrict__ codes, std::uint32_t n, std::uint32_t block, std::uint32_t blocks,
                        float factor, float* __restrict__ x) {
  constexpr std::uint32_t steps = 4, stride = int_tuning::threads * 4;
  using four = std::conditional_t<Bits == 8, std::uint32_t, std::conditional_t<Bits == 4, std::uint16_t, std::uint8_t>>;
  auto const* const scales = reinterpret_cast<float const*>(codes);
  auto const* const packed = codes + 4 * std::size_t{blocks};
  auto const begin = blockIdx.x * steps * stride + threadIdx.x * 4;

  std::uint32_t word[steps];
  float4 old[steps];
#pragma unroll
  for (std::uint32_t u = 0; u < steps; ++u) {
    auto const i = begin + u * stride;
    word[u] = 0;
    if (i < n && n - i >= 4) {
      word[u] = *(reinterpret_cast<four const*>(packed) + i / 4);
    } else if (i < n) {  // the last bytes: there may be fewer than four codes have
      for (std::uint32_t b = 0; b < ((n - i) * Bits + 7) / 8; ++b)
        word[u] |= static_cast<std::uint32_t>(packed[std::size_t{i} * Bits / 8 + b]) << (8 * b);
    }
    if constexpr (Add) old[u] = load4<Aligned>(x, i, n);
  }
#pragma unroll
  for (std::uint32_t u = 0; u < steps; ++u) {
    auto const i = begin + u * stride;
    if (i >= n) continue;
    auto const scale = scales[i / block] * factor;
    auto const value = [&](int j) { return static_cast<float>(device::unpack_code(word[u], Bits * j, Bits)) * scale; };
    auto const decoded = make_float4(value(0), value(1), value(2), value(3));
    if constexpr (Add)
      store4<Aligned>(x, i, n, add4(old[u], decoded));
    else
      store4<Aligned>(x, i, n, decoded);
  }
}

namespace detail {

template <bool Add, bool Aligned>
[[nodiscard]] cudaError_t int_decode(cudaStream_t stream, std::byte const* codes, std::uint32_t n, int bits,
                                     std::uint32_t block, float factor, float* x) {
  constexpr auto a_block = int_tuning::threads * 16;
  grid_shape const grid{(n + a_block - 1) / a_block, int_tuning::threads};
  auto const blocks = (n + block - 1) / block;
  if (bits == 8) return launch(stream, grid, int_decode_elements<8, Add, Aligned>, codes, n, block, blocks, factor, x);
  if (bits == 4) return launch(stream, grid, int_decode_elements<4, Add, Aligned>, codes, n, block, blocks, factor, x);
  return launch(stream, grid, int_decode_elements<2, Add, Aligned>, codes, n, block, blocks, factor, x);
}

template <bool Add>
[[nodiscard]] cudaError_t int_decode(cudaStream_t stream, std::byte const* codes, std::size_t n, int bits,
                                     std::size_t block, float factor, float* x) {
  if (!int_sizes_fit(n, bits, block, codes)) return cudaErrorInvalidValue;
  if (n == 0) return cudaSuccess;
  auto const n32 = static_cast<std::uint32_t>(n), block32 = static_cast<std::uint32_t>(block);
  return aligned16(x) ? int_decode<Add, true>(stream, codes, n32, bits, block32, factor, x)
                      : int_decode<Add, false>(stream, codes, n32, bits, block32, factor, x);
}

}  // namespace detail

/// x = decoded. Writes 4 bytes an element and reads the codes; one launch. Sizes and alignment as int_encode_sum; x off
/// 16 bytes is written 32 bits at a time.
[[nodiscard]] inline cudaError_t int_decode(cudaStream_t stream, std::byte const* codes, std::size_t n, int bits,
                                            std::size_t block, float* x) {
  return detail::int_decode<false>(stream, codes, n, bits, block, 1.0f, x);
}

/// sum += factor * decoded; factor is +1 or -1. Reads and writes 4 bytes an element.
[[nodiscard]] inline cudaError_t int_accumulate(cudaStream_t stream, std::byte const* codes, std::size_t n, int bits,
                                                std::size_t block, float factor, float* sum) {
  return detail::int_decode<true>(stream, codes, n, bits, block, factor, sum);
}

}  // namespace gradpress::kernel::cuda
