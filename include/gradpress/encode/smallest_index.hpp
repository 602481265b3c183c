// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// IndexCode: whichever of ours is the smallest.

#include <gradpress/encode/bitmap_index.hpp>
#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/encode/local_index.hpp>
#include <gradpress/encode/raw_index.hpp>

namespace gradpress {

/// Takes the code with the fewest bytes for n and k, the first of raw_index, local_index, bitmap_index, elias_fano if
/// some are equal. Sizes are exact, so every rank takes the same, and nothing is sent about it.
class smallest_index {
  template <class F>
  static constexpr auto with(std::size_t n, std::size_t k, F const& f) {
    constexpr raw_index raw;
    constexpr local_index local;
    constexpr bitmap_index bitmap;
    constexpr elias_fano fano;
    auto const r = raw.index_bytes(n, k), l = local.index_bytes(n, k), b = bitmap.index_bytes(n, k),
               e = fano.index_bytes(n, k), least = std::min({r, l, b, e});
    if (r == least) return f(raw);
    if (l == least) return f(local);
    if (b == least) return f(bitmap);
    return f(fano);
  }

 public:
  using family = family::index_code;
  static constexpr std::string_view name = "smallest_index";

  [[nodiscard]] constexpr std::size_t index_bytes(std::size_t n, std::size_t k) const noexcept {
    return with(n, k, [&](auto const& code) { return code.index_bytes(n, k); });
  }
  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const noexcept {
    with(n, k, [&](auto const& code) { code.write(at, k, n, out); });
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const noexcept {
    return with(n, k, [&](auto const& code) { return code.read(in, k, n, at); });
  }
};

static_assert(explain_index_code<smallest_index>());

}  // namespace gradpress
