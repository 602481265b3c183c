// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Candidates of all tiles in one pool: what the collect pass writes and the later passes read. No CUDA needed to read
/// it.

#include <cstddef>
#include <cstdint>

namespace gradpress::kernel::cuda {

/// Tuning numbers of the collect pass. None of them changes a result.
struct collect_tuning {
  static constexpr std::uint32_t threads = 256;
  static constexpr std::uint32_t vectors = 4;  ///< 16-byte loads of each input that a thread has in flight
  static constexpr std::uint32_t tile = threads * vectors * 4;
};

/// Largest n: the last tile's end still fits 32 bits.
inline constexpr std::size_t collect_max_size = std::size_t{0xffffffff} - collect_tuning::tile;

/// Tiles of n elements; n <= collect_max_size.
[[nodiscard]] constexpr std::uint32_t collect_tiles(std::size_t n) noexcept {
  return static_cast<std::uint32_t>((n + collect_tuning::tile - 1) / collect_tuning::tile);
}

/// A table entry a tile, and behind it the candidates: those of one tile together and in order.
struct candidate_pool {
  std::uint32_t const* lower;  ///< bits of the threshold, in device memory; null: it is `threshold`
  std::uint32_t threshold;
  std::uint32_t* used;        ///< candidates found, also those for which there was no room; starts at 0
  std::uint32_t* tile_first;  ///< where a tile's candidates begin
  std::uint32_t* tile_size;   ///< how many there are
  float* value;
  std::uint32_t* index;
  std::uint32_t capacity;
};

/// Hands out parts of one piece of memory, each on 16 bytes.
struct workspace_layout {
  std::size_t end = 0;
  constexpr std::size_t take(std::size_t bytes) noexcept {
    auto const begin = end;
    end = (end + bytes + 15) / 16 * 16;
    return begin;
  }
};

}  // namespace gradpress::kernel::cuda
