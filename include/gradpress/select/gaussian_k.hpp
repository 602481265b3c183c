// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: about the k entries of largest magnitude, by the threshold that a normal distribution would have.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/importance.hpp>
#include <gradpress/select/candidates.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

namespace detail {

/// z such that a standard normal number is beyond z or -z with probability `tail`, in (0, 1].
inline double normal_tail(double tail) noexcept {
  double low = 0, high = 40;
  for (int i = 0; i < 60; ++i) {
    auto const middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.)) > tail ? low : high) = middle;
  }
  return low;
}

}  // namespace detail

/// Keeps the entries with |x| >= tau, where tau is the magnitude that the wanted share of normal numbers with mean 0 and
/// the root mean square of x reaches; exactly k = max(1, floor(density n)) of them, the largest, if there are more than k.
///
/// - Shape     n coefficients in, between 3/4 k and k indices out, or all entries that are not zero if those are fewer:
///             messages of variable size, but never of more than k entries.
/// - Order     indices ascend.
/// - Cost      two reads of x. Where tau was too high, one more for a threshold of two thirds, and after that an exact
///             top_k. Slower than top_k alone.
/// - Edges     n = 0 keeps nothing, nor does x = 0; zeros are never kept; NaN is found and refused.
/// - Bias      biased, a contraction with delta = 3/4 k/n at least: use it with a memory, and never rescale.
/// - Source    Shi, Chu, Cheung, See, Understanding Top-k Sparsification in Distributed Deep Learning, 2019. Differs: the
///             mean is taken for 0; tau is lowered at once as far as 20 corrections of 2 % would, and never raised, since
///             what exceeds k is cut exactly.
struct gaussian_k {
  double density = 0.01;  ///< kept share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "gaussian_k";
  static constexpr auto knobs = std::tuple{knob{"density", &gaussian_k::density}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n), enough = k - k / 4;
    kept.count = 0;
    if (n == 0) return true;
    exact_search<Exec> const exact(ctx, x, k);
    candidates<Exec> found(ctx, x);
    auto const room = ctx.template scratch<kernel::capped_sums>(kernel::importance_chunks(n));
    auto const sums = kernel::sum_capped(ctx.exec, x.data(), n, std::numeric_limits<float>::infinity(), room.data());
    if (sums.largest >= kernel::not_finite) return false;
    auto const share = static_cast<double>(k) / static_cast<double>(n);
    auto const tau = std::sqrt(sums.rest_squared / static_cast<double>(n)) * detail::normal_tail(share);
    for (auto const lowered : {tau, 0.667 * tau}) {  // 0.98^20
      found.collect(static_cast<float>(lowered));
      if (found.count() >= enough || lowered == 0) return found.keep(k, kept), true;
    }
    exact.keep(kept);
    return true;
  }
};

static_assert(explain_selector<gaussian_k>());

}  // namespace gradpress
