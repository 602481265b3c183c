// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: -1, 0 or 1 under a scale that all ranks agree on, so that codes add.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/ternary.hpp>

#include <limits>

namespace gradpress {

/// Decodes to scale * code, scale = the largest |x| of all ranks; code = sign(x) with probability |x| / scale, else 0.
///
/// - Shape     m values to m counters of type T, which the transport sums: T = int8_t for up to 127 ranks, int16_t for
///             up to 32767. The agreement is one float, in a collective of its own before the codes.
/// - Bias      none. Variance: |x|_1 scale - |x|_2^2.
/// - Edges     all zeros on all ranks: scale 0, codes 0.
/// - Source    Wen et al., TernGrad, NeurIPS 2017, sections 3.1 and 3.3 (scaler sharing). Differs: no clipping, which
///             biases; one scale a tensor.
template <class T>
struct basic_ternary {
  static_assert(std::same_as<T, std::int8_t> || std::same_as<T, std::int16_t>,
                "basic_ternary: T must be int8_t or int16_t.");
  using family = family::quantizer;
  using adds_as = T;
  static constexpr std::string_view name = sizeof(T) == 1 ? "ternary8" : "ternary";

  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept { return sizeof(T) * m; }
  [[nodiscard]] constexpr std::size_t agreement_size(std::size_t) const noexcept { return 1; }
  [[nodiscard]] constexpr int largest_world() const noexcept { return std::numeric_limits<T>::max(); }

  template <class Exec>
  bool propose(step<Exec> const& ctx, in<Exec> x, view<Exec> mine) const {
    auto const room = ctx.scratch(kernel::dense_chunks(x.extent(0)));
    mine(0) = kernel::max_abs(ctx.exec, x.data(), x.extent(0), room.data());
    return mine(0) <= std::numeric_limits<float>::max();
  }
  template <class Exec>
  bool propose_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> mine) const {
    auto const room = ctx.scratch(kernel::dense_chunks(g.extent(0)));
    mine(0) = kernel::max_abs_sum(ctx.exec, g.data(), e.data(), g.extent(0), room.data());
    return mine(0) <= std::numeric_limits<float>::max();
  }
  template <class Exec>
  void encode(step<Exec> const& ctx, in<Exec> x, in<Exec> agreed, bytes<Exec> codes) const {
    kernel::ternary_encode(ctx.exec, x.data(), x.extent(0), agreed(0), ctx.own(purpose::rounding).value,
                           as<T>(codes).data());
  }
  template <class Exec>
  void encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, in<Exec> agreed, view<Exec> rest,
                  bytes<Exec> codes) const {
    kernel::ternary_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), agreed(0),
                               ctx.own(purpose::rounding).value, as<T>(codes).data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, in<Exec> agreed, view<Exec> x) const {
    kernel::ternary_decode(ctx.exec, as<T const>(codes).data(), x.extent(0), agreed(0), x.data());
  }
};

using ternary = basic_ternary<std::int16_t>;
using ternary8 = basic_ternary<std::int8_t>;

static_assert(explain_quantizer<ternary>() && explain_quantizer<ternary8>());

}  // namespace gradpress
