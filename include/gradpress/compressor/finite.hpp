// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// NaN and infinity end a step before they reach a memory.

#include <gradpress/core/error.hpp>
#include <gradpress/core/step.hpp>
#include <gradpress/kernel/dense.hpp>

#include <cmath>

namespace gradpress::detail {

inline constexpr char const* signal_not_finite = "the gradient, or gradient plus memory, is not finite";

/// Throws `non_finite_error` that says `what` unless `finite`.
void require(bool finite, char const* what = signal_not_finite);

/// The same about x. Reads it once.
template <class Exec>
void require_finite(step<Exec> const& ctx, in<Exec> x, char const* what = signal_not_finite) {
  auto const n = x.extent(0);
  auto const seen = ctx.template scratch<unsigned char>(kernel::dense_chunks(n));
  require(kernel::all_finite(ctx.exec, x.data(), n, seen.data()), what);
}
/// The same about numbers that ranks agreed on, as many of which as there are ranks may be added up.
template <class Exec>
void require_summable(step<Exec> const& ctx, in<Exec> agreed) {
  for (std::size_t i = 0; i < agreed.extent(0); ++i)
    require(std::isfinite(agreed(i) * static_cast<float>(ctx.world)),
            "the agreed scale, or the sum that it allows, is not finite");
}
GRADPRESS_ONCE(require_finite);
GRADPRESS_ONCE(require_summable);

#if GRADPRESS_BODIES
GRADPRESS_INLINE void require(bool finite, char const* what) {
  if (!finite) throw non_finite_error(what);
}
#endif

}  // namespace gradpress::detail
