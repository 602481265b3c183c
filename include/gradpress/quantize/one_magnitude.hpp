// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizer: one magnitude for all values, and one bit each.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/one_magnitude.hpp>

#include <cmath>

namespace gradpress {

/// Decodes to +-s, s the mean magnitude of all values: exact where all have the same.
///
/// - Shape     m values to one float and m bits, in whole 32-bit words; nothing if m = 0.
/// - Scale     summed in double, so that up to 2^29 equal magnitudes have themselves as their mean.
/// - Zero      one bit cannot say zero: +0 decodes to +s. Zeros alone have s = 0.
/// - Bias      none on values of one magnitude, which some selectors write (`adacomp`). On others that of `sign` with one
///             block: use it with a memory.
/// - Cost      two reads, on one thread: values are meant to be few.
/// - Source    the values of AdaComp, Chen et al., AAAI 2018, there two bits each.
struct one_magnitude {
  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "one_magnitude";

  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept {
    return kernel::sign_bytes(m, whole(m));
  }

  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    auto const m = x.extent(0);
    return kernel::one_magnitude_encode(ctx.exec, x.data(), m, room(ctx, m), codes.data());
  }
  template <class Exec>
  bool encode_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> rest, bytes<Exec> codes) const {
    auto const m = g.extent(0);
    return kernel::one_magnitude_encode_sum(ctx.exec, g.data(), e.data(), rest.data(), m, room(ctx, m), codes.data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::sign_decode(ctx.exec, codes.data(), x.extent(0), whole(x.extent(0)), x.data());
  }
  template <class Exec>
  void accumulate(step<Exec> const& ctx, in_bytes<Exec> codes, float factor, view<Exec> x) const {
    kernel::sign_accumulate(ctx.exec, codes.data(), x.extent(0), whole(x.extent(0)), factor, x.data());
  }
  template <class Exec>
  bool finite(step<Exec> const&, in_bytes<Exec> codes, std::size_t m) const {
    return m == 0 || std::isfinite(as<float const>(codes)(0));
  }

 private:
  template <class Exec>
  static kernel::capped_sums* room(step<Exec> const& ctx, std::size_t m) {
    return ctx.template scratch<kernel::capped_sums>(kernel::importance_chunks(m)).data();
  }
  /// One block of `sign`'s kernels for all values.
  static constexpr std::size_t whole(std::size_t m) noexcept { return std::max<std::size_t>(1, (m + 31) / 32) * 32; }
};

static_assert(explain_quantizer<one_magnitude>());

}  // namespace gradpress
