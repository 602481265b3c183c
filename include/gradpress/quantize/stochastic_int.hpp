// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: 8, 4 or 2 bits a value and one scale a block.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/stochastic_int.hpp>

#include <cmath>

namespace gradpress {

/// How a value between two levels is rounded.
enum class rounding {
  stochastic,  ///< up or down at random, right on average
  nearest      ///< half the error, biased
};
constexpr std::array<std::string_view, 2> names_of(rounding) { return {"stochastic", "nearest"}; }

/// Symmetric integers with L = 2^(bits-1) - 1 levels a side; scale = max|x| / L of the value's block.
///
/// - Shape       m values to `bits` m bits and one float a block.
/// - Error       at most one scale (stochastic) or half a scale (nearest) a value.
/// - Bias        stochastic: none, to 2^-9 of a level (8 random bits a value). Nearest: use it with a memory.
/// - Randomness  Philox keyed by this rank, counter = position: results depend neither on threads nor on instructions.
/// - Edges       a block of zeros has scale 0 and decodes to zeros.
/// - Exchange    scales differ between ranks, so codes do not add: gathered, or scatter_reduce.
/// - Source      Alistarh et al., QSGD, NeurIPS 2017, section 3.1, with the max norm and buckets; Wang et al., ZeRO++,
///               2306.10209, section 4.1 for the blocks.
struct stochastic_int {
  int bits = 8;      ///< 8, 4 or 2
  int block = 1024;  ///< values a scale; a positive multiple of 64
  rounding mode = rounding::stochastic;

  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "stochastic_int";
  static constexpr auto knobs = std::tuple{knob{"bits", &stochastic_int::bits}, knob{"block", &stochastic_int::block},
                                           knob{"mode", &stochastic_int::mode}};

  [[nodiscard]] constexpr std::size_t grain() const noexcept { return static_cast<std::size_t>(block); }
  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept {
    return kernel::int_bytes(m, bits, grain());
  }
  void check() const {
    if (bits != 8 && bits != 4 && bits != 2)
      throw configuration_error("stochastic_int: bits must be 8, 4 or 2, they are " + std::to_string(bits));
    if (block <= 0 || block % 64 != 0)
      throw configuration_error("stochastic_int: block must be a positive multiple of 64, it is " +
                                std::to_string(block));
  }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    return kernel::int_encode(ctx.exec, x.data(), x.extent(0), bits, grain(), mode == rounding::stochastic,
                              ctx.own(purpose::rounding).value, codes.data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    return kernel::int_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), bits, grain(),
                                  mode == rounding::stochastic, ctx.own(purpose::rounding).value, codes.data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::int_decode(ctx.exec, codes.data(), x.extent(0), bits, grain(), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::int_accumulate(ctx.exec, codes.data(), x.extent(0), bits, grain(), factor, x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t m) const {
    auto const scales = as<float const>(codes);
    for (std::size_t b = 0; b < (m + grain() - 1) / grain(); ++b)
      if (!std::isfinite(scales(b))) return false;
    return true;
  }
};

static_assert(explain_quantizer<stochastic_int>());

}  // namespace gradpress
