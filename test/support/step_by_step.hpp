// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Quantizers that form gradient plus memory in the pass in which they code it, and the same without that.

#include <gradpress/concepts/quantizer.hpp>

namespace gradpress::test {

template <class Q>
inline constexpr bool codes_sums = requires(Q const& q, step<serial> const& ctx, in<serial> x, view<serial> y,
                                            bytes<serial> b) {
  q.encode_sum(ctx, x, x, y, b);
}
|| requires(Q const& q, step<serial> const& ctx, in<serial> x, view<serial> y, bytes<serial> b) {
  q.propose_sum(ctx, x, x, y);
  q.encode_sum(ctx, x, x, x, y, b);
};

/// The same codes: after the sum was formed, and before they are taken off it.
template <class Q>
struct step_by_step : Q {
  bool propose_sum(auto&&...) const = delete;
  bool encode_sum(auto&&...) const = delete;
};

}  // namespace gradpress::test
