// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: every entry whose magnitude reaches a fixed threshold.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/compact.hpp>

namespace gradpress {

/// Keeps entry i where |x[i]| >= tau.
///
/// - Shape     n coefficients in, 0..n indices out: messages of variable size, which cost one more small collective.
/// - Units     tau is in the units of the gradient, not relative to its norm.
/// - Order     indices ascend.
/// - Cost      one read of x.
/// - Edges     n = 0 keeps nothing; tau = 0 keeps everything, zeros too; NaN is found and refused.
/// - Bias      an absolute compressor: the error is at most n tau^2 whatever x is. With a memory, an entry with
///             constant gradient v is sent every ceil(tau / |v|) steps.
/// - Source    Strom, Interspeech 2015; Dutta, Sahu et al., Rethinking Gradient Sparsification as Total Error
///             Minimization, NeurIPS 2021. Differs from Strom: the value travels, not +-tau.
struct threshold {
  double tau = 1e-3;

  using family = family::selector;
  static constexpr std::string_view name = "threshold";
  static constexpr auto knobs = std::tuple{knob{"tau", &threshold::tau}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }
  void check() const {
    if (!(tau >= 0)) throw configuration_error("threshold: tau must be at least 0, it is " + std::to_string(tau));
  }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0);
    bool finite = true;
    auto const counts = ctx.template scratch<std::size_t>(kernel::compact_chunks(n));
    kept.count = kernel::compact_positions(ctx.exec, x.data(), n, static_cast<float>(tau), kept.indices.data(),
                                           counts.data(), finite);
    return finite;
  }
};

static_assert(explain_selector<threshold>());

}  // namespace gradpress
