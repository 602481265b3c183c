// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: 32 bits a position, as they are.

#include <gradpress/concepts/index_code.hpp>
#include <gradpress/kernel/sparse.hpp>

#include <cstring>

namespace gradpress {

/// Writes each position as a little-endian 32-bit number.
///
/// - Bytes     4 k.
/// - Cost      a copy; messages may be merged where they lie, which the other codes do not allow.
/// - Edges     k = 0 writes nothing.
struct raw_index {
  using family = family::index_code;
  static constexpr std::string_view name = "raw_index";
  static constexpr bool raw = true;

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t, std::size_t k) const noexcept { return 4 * k; }
  void write(index_t const* at, std::size_t k, std::size_t, std::byte* out) const noexcept {
    if (k > 0) std::memcpy(out, at, 4 * k);
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    if (k > 0) std::memcpy(at, in, 4 * k);
    return kernel::valid_indices(at, k, n);
  }
};

static_assert(explain_index_code<raw_index>());

}  // namespace gradpress
