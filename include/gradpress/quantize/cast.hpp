// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: a cast to a 16-bit float.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/cast.hpp>
#include <gradpress/kernel/dense.hpp>

namespace gradpress {

/// Rounds to T = bfloat16 or float16, to nearest, ties to even: 2 bytes a value.
///
/// - Range     bfloat16 has float's range and 8 bits of precision; float16 has 11 bits and ends at 65504: a larger
///             value is refused as not finite.
/// - Exchange  codes add, in 16 bits: an all-reduce rounds at every addition. With a memory the sums are formed in
///             float and rounded once, by the chunk's owner, who remembers it (scatter_reduce).
/// - Source    the format's own rounding; IEEE 754 for float16.
template <class T>
struct cast {
  static_assert(std::same_as<T, bfloat16> || std::same_as<T, float16>, "cast: T must be bfloat16 or float16.");
  using family = family::quantizer;
  using adds_as = T;
  static constexpr std::string_view name = std::same_as<T, bfloat16> ? "bf16" : "fp16";

  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept { return 2 * m; }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    return kernel::cast_encode(ctx.exec, x.data(), x.extent(0), as<T>(codes).data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    return kernel::cast_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), as<T>(codes).data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::cast_decode(ctx.exec, as<T const>(codes).data(), x.extent(0), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::cast_accumulate(ctx.exec, as<T const>(codes).data(), x.extent(0), factor, x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t m) const {
    return kernel::cast_finite(as<T const>(codes).data(), m);
  }
};

using bf16 = cast<bfloat16>;
using fp16 = cast<float16>;

static_assert(explain_quantizer<bf16>() && explain_quantizer<fp16>());

}  // namespace gradpress
