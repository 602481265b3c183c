// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: logarithmic codes, fine near zero and coarse near the maximum.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/log_code.hpp>

#include <cmath>

namespace gradpress {

/// mu-law: q = log(1 + alpha |x| / top) / log(1 + alpha) on a uniform grid, with the sign; top = max |x|.
///
/// - Shape     m values to `bits` bits each (8: a byte; 4: two a byte) and one float.
/// - Error     a step of the grid is ln(1 + alpha) / alpha of it near zero and (1 + alpha) times that near top.
/// - Bias      nearest level in q; deterministic and monotone. Use it with a memory.
/// - Exchange  codes are gathered and averaged after decoding. Sums of logarithmic codes mean nothing, although
///             published code all-reduces them.
/// - Source    Li et al., LQ-SGD, arXiv 2506.17974. With low_rank it is that method; both factors are coded.
struct log_quantizer {
  double alpha = 10;
  int bits = 8;  ///< 8 or 4

  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "log";
  static constexpr auto knobs = std::tuple{knob{"alpha", &log_quantizer::alpha}, knob{"bits", &log_quantizer::bits}};

  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept { return kernel::log_bytes(m, bits); }
  void check() const {
    if (!(alpha > 0) || !(alpha < 1e6))
      throw configuration_error("log: alpha must lie in (0, 1e6), it is " + std::to_string(alpha));
    if (bits != 8 && bits != 4) throw configuration_error("log: bits must be 8 or 4, they are " + std::to_string(bits));
  }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    auto const room = ctx.scratch(kernel::dense_chunks(x.extent(0)));
    return kernel::log_encode(ctx.exec, x.data(), x.extent(0), bits, static_cast<float>(alpha), room.data(),
                              codes.data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    auto const room = ctx.scratch(kernel::dense_chunks(g.extent(0)));
    return kernel::log_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), g.extent(0), bits,
                                  static_cast<float>(alpha), room.data(), codes.data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::log_decode(ctx.exec, codes.data(), x.extent(0), bits, static_cast<float>(alpha), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::log_accumulate(ctx.exec, codes.data(), x.extent(0), bits, static_cast<float>(alpha), factor, x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t) const {
    return std::isfinite(as<float const>(codes)(0));
  }
};

static_assert(explain_quantizer<log_quantizer>());

}  // namespace gradpress
