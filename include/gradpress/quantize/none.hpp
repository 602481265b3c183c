// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: none. Values travel as they are.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/sum_pieces.hpp>

namespace gradpress {

/// Codes are the floats themselves: 4 bytes a value, and sums of codes are sums of values.
struct unquantized {
  using family = family::quantizer;
  using adds_as = float;
  static constexpr std::string_view name = "none";

  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept { return 4 * m; }

  template <class Exec>
  void encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    kernel::copy(ctx.exec, x.data(), x.extent(0), as<float>(codes).data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    return kernel::hand_over_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), as<float>(codes).data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::copy(ctx.exec, as<float const>(codes).data(), x.extent(0), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::accumulate(ctx.exec, as<float const>(codes).data(), factor < 0, x.data(), x.extent(0));
  }
  template <class Exec>
  void decode_mean(step<Exec> const& ctx, in_bytes<Exec> codes, int world, view<Exec> x) const {
    kernel::divide_copy(ctx.exec, as<float const>(codes).data(), x.extent(0), static_cast<float>(world), x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const& ctx, in_bytes<Exec> codes, std::size_t m) const {
    auto const room = ctx.template scratch<unsigned char>(kernel::dense_chunks(m));
    return kernel::all_finite(ctx.exec, as<float const>(codes).data(), m, room.data());
  }
};

static_assert(explain_quantizer<unquantized>());

}  // namespace gradpress
