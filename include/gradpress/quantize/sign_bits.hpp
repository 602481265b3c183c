// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: the sign alone, as +1 and -1.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/vote.hpp>

namespace gradpress {

/// Decodes to +1 or -1: a vote, and no estimate of the value.
///
/// - Shape     m values to one float and m bits, in whole 32-bit words; nothing if m = 0.
/// - Units     none: an update of these moves every entry by the learning rate, as sign SGD does.
/// - Zero      one bit cannot say zero: +0 decodes to +1. Zeros alone abstain: their float is 0, and they decode to zeros.
/// - Bias      biased, and no contraction: an error feedback on it need not stay bounded. A sign of a scale is `sign`.
/// - Cost      one read; one write to decode.
/// - Source    Bernstein et al., signSGD, ICML 2018, algorithm 1.
struct sign_bits {
  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "sign_bits";
  static constexpr bool casts_votes = true;

  [[nodiscard]] constexpr std::size_t grain() const noexcept { return 32; }
  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept {
    return m == 0 ? 0 : 4 + 4 * kernel::sign_words(m);
  }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    return encode_sum(ctx, x, {}, {}, codes);
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    auto const m = g.extent(0);
    if (m == 0) return true;
    auto const magnitudes = ctx.scratch(kernel::encode_signs_workspace(m));
    auto* const words = codes.data() + 4;
    if (!kernel::encode_signs_sum(ctx.exec, g.data(), e.data(), rest.data(), m, words, magnitudes.data())) return false;
    bool any = false;
    for (std::size_t b = 0; b < magnitudes.extent(0); ++b) any = any || magnitudes(b) > 0;
    as<float>(codes)(0) = any ? 1.f : 0.f;
    if (any) return true;
    if (rest.data() != nullptr) kernel::decode_signs(ctx.exec, words, m, 0.f, rest.data());  // the zeros, as they were
    clear(words, codes.extent(0) - 4);
    return true;
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    if (x.extent(0) == 0) return;
    if (as<float const>(codes)(0) == 0) return kernel::fill_zero(ctx.exec, x.data(), x.extent(0));
    kernel::decode_signs(ctx.exec, codes.data() + 4, x.extent(0), 1.f, x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    if (x.extent(0) == 0 || as<float const>(codes)(0) == 0) return;
    kernel::accumulate_signs(ctx.exec, codes.data() + 4, x.extent(0), factor, x.data());
  }
  /// Nobody has more than one vote.
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t m) const {
    return m == 0 || as<float const>(codes)(0) == 0 || as<float const>(codes)(0) == 1;
  }
};

static_assert(explain_quantizer<sign_bits>());

}  // namespace gradpress
