// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: one bit a value and one scale a block.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/sign.hpp>

#include <cmath>

namespace gradpress {

/// Decodes to +-s, s the mean magnitude of the value's block.
///
/// - Shape     m values to m bits (whole 32-bit words) and one float a block.
/// - Scale     mean |x| over the block: a contraction, delta = |x|_1^2 / (m |x|_2^2) a block. (The l2 scale of other
///             methods is none: a one-hot vector comes back with more error than it had length.)
/// - Zero      one bit cannot say zero: +0 decodes to +s. A block of zeros has s = 0 and decodes to zeros.
/// - Bias      biased: use it with a memory; without one signSGD can walk the wrong way.
/// - Cost      one read; with error feedback one pass over memory, because the scale is a block's and not the tensor's.
/// - Source    Karimireddy et al., Error Feedback Fixes SignSGD, ICML 2019, algorithm 1. Differs: a scale a block.
struct sign {
  int block = 1024;  ///< values a scale; a positive multiple of 32

  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "sign";
  static constexpr auto knobs = std::tuple{knob{"block", &sign::block}};

  [[nodiscard]] constexpr std::size_t grain() const noexcept { return static_cast<std::size_t>(block); }
  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept {
    return kernel::sign_bytes(m, grain());
  }
  void check() const {
    if (block <= 0 || block % 32 != 0)
      throw configuration_error("sign: block must be a positive multiple of 32, it is " + std::to_string(block));
  }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    return kernel::sign_encode(ctx.exec, x.data(), x.extent(0), grain(), codes.data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    return kernel::sign_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), grain(), codes.data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::sign_decode(ctx.exec, codes.data(), x.extent(0), grain(), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::sign_accumulate(ctx.exec, codes.data(), x.extent(0), grain(), factor, x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t m) const {
    auto const scales = as<float const>(codes);
    for (std::size_t b = 0; b < (m + grain() - 1) / grain(); ++b)
      if (!std::isfinite(scales(b))) return false;
    return true;
  }
};

static_assert(explain_quantizer<sign>());

}  // namespace gradpress
