// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: about the k entries of largest magnitude, by thresholds fitted in stages to tails.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/importance.hpp>
#include <gradpress/select/candidates.hpp>
#include <gradpress/select/density.hpp>
#include <gradpress/select/tail.hpp>

namespace gradpress {

/// Keeps the entries with |x| >= tau; exactly k = max(1, floor(density n)) of them, the largest, if there are more than
/// k. Every stage takes what is beyond the threshold before for exponential, or for generalised Pareto, and goes on to
/// the share that is wanted of it, or to a quarter: tau += (mean |x| - tau) ln(1/share) if exponential.
///
/// - Shape     n coefficients in, between 0.8 k and k indices out, or all entries that are not zero if those are fewer:
///             messages of variable size, but never of more than k entries.
/// - Order     indices ascend.
/// - Cost      two reads of x, three of a quarter of it, of a sixteenth, and so on. Where the first threshold left fewer
///             than 0.8 k, an exact top_k. Slower than top_k alone.
/// - Edges     n = 0 keeps nothing, nor does x = 0; zeros are never kept; NaN is found and refused.
/// - Bias      biased, a contraction with delta = 0.8 k/n at least: use it with a memory, and never rescale.
/// - Source    Abdelmoniem, Elzanaty, Alouini, Canini, SIDCo, MLSys 2021, SIDCo-E and SIDCo-P; the gamma fit of a first
///             stage (SIDCo-GP) is not there: it takes a logarithm of every element. Differs: shares follow from the
///             counts of this step, not from those of steps before; a stage that would go too far is not taken, and the
///             last cut, to k, is exact.
struct sidco {
  double density = 0.01;  ///< kept share, in (0, 1]
  int stages = 8;         ///< at most so many, 1 or more
  tail_fit fit = tail_fit::exponential;

  using family = family::selector;
  static constexpr std::string_view name = "sidco";
  static constexpr auto knobs = std::tuple{knob{"density", &sidco::density}, knob{"stages", &sidco::stages},
                                           knob{"fit", &sidco::fit, shown::if_changed}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const {
    check_density(name, density);
    if (stages < 1 || stages > 64)
      throw configuration_error("sidco: stages must lie in 1 .. 64, they are " + std::to_string(stages));
  }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n), enough = k - k / 5;
    kept.count = 0;
    if (n == 0) return true;
    exact_search<Exec> const exact(ctx, x, k);
    candidates<Exec> found(ctx, x);
    auto const room = ctx.template scratch<kernel::capped_sums>(kernel::importance_chunks(n));
    auto const sums = kernel::sum_capped(ctx.exec, x.data(), n, std::numeric_limits<float>::infinity(), room.data());
    if (sums.largest >= kernel::not_finite) return false;
    auto tau = beyond(0, sums.rest, sums.rest_squared, n, k);
    found.collect(tau);
    if (found.count() < enough && tau > 0) return exact.keep(kept), true;
    for (int stage = 1; stage < stages && found.count() > k; ++stage) {
      double sum = 0, squares = 0;  // of what is beyond tau
      for (auto const v : found.values()) {
        auto const more = static_cast<double>(std::fabs(v)) - static_cast<double>(tau);
        sum += more, squares += more * more;
      }
      tau = beyond(tau, sum, squares, found.count(), k);
      if (found.reaching(tau) < enough) break;
      found.narrow(tau);
    }
    found.keep(k, kept);
    return true;
  }

 private:
  /// The threshold that k of m entries reach, or a quarter of them if that is more, by the sums of what is beyond `tau`.
  [[nodiscard]] float beyond(float tau, double sum, double squares, std::size_t m, std::size_t k) const noexcept {
    auto const all = static_cast<double>(m), share = std::max(0.25, static_cast<double>(k) / all);
    return static_cast<float>(static_cast<double>(tau) + tail_quantile(fit, sum / all, squares / all, share));
  }
};

static_assert(explain_selector<sidco>());

}  // namespace gradpress
