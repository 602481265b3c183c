// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Unbiased draws with p = min(1, |x| / cap): what selectors share that differ in how they choose the cap.

#include <gradpress/core/step.hpp>
#include <gradpress/kernel/importance.hpp>

#include <limits>

namespace gradpress {

/// Draws entries of x with probability p = min(1, |x| / cap) and sends x / p, so that the expectation is x.
///
/// For a given sum of p this form has the least variance, and for a given variance the least sum (Wangni et al. 2018).
/// Whoever wants a certain sum, or variance, has one equation for the cap, piecewise linear and convex; `lower` solves
/// it by Newton's steps from above, which end after few of them at the exact solution: 2 to 11 reads of x in all that was tried.
template <class Exec>
class importance {
  step<Exec> const& ctx_;
  in<Exec> x_;
  view<Exec, kernel::capped_sums> partial_;
  kernel::capped_sums sums_;
  float cap_ = std::numeric_limits<float>::infinity();

 public:
  importance(step<Exec> const& ctx, in<Exec> x)
      : ctx_(ctx), x_(x), partial_(ctx.template scratch<kernel::capped_sums>(kernel::importance_chunks(x.extent(0)))) {
    split();
  }

  [[nodiscard]] bool finite() const noexcept { return sums_.largest < kernel::not_finite; }
  /// Below the present cap: before `lower` the sums of all.
  [[nodiscard]] kernel::capped_sums const& sums() const noexcept { return sums_; }
  [[nodiscard]] float cap() const noexcept { return cap_; }

  /// cap = next(sums) while that lowers it and makes more entries certain, at most `rounds` times.
  template <class Next>
  void lower(Next const& next, int rounds = std::numeric_limits<int>::max()) {
    for (int r = 0; r < rounds && sums_.rest > 0; ++r) {
      auto const before = sums_.certain;
      auto const cap = std::max(static_cast<float>(next(sums_)), std::numeric_limits<float>::denorm_min());
      if (!(cap < cap_)) return;
      cap_ = cap;
      split();
      if (sums_.certain == before) return;
    }
  }
  /// The least variance for an expected number of entries.
  void spend(double budget, int rounds = std::numeric_limits<int>::max()) {
    lower(
        [=, n = static_cast<double>(x_.extent(0))](auto const& s) {
          if (budget >= n) return 0.;                                 // all of them, without a search
          auto const left = budget - static_cast<double>(s.certain);  // rounding may make it 0, or a little less
          return left > 0 ? s.rest / left : std::numeric_limits<double>::infinity();
        },
        rounds);
  }

  /// False: x, or what would be sent of it, is not finite.
  bool draw(selection<Exec>& kept, view<Exec> values) const {
    kept.count = 0;
    if (!finite()) return false;
    if (sums_.largest == 0) return true;
    if (std::isinf(cap_)) return false;
    auto const n = x_.extent(0);
    kept.count =
        kernel::draw_capped(ctx_.exec, x_.data(), n, cap_, ctx_.own(purpose::support), kept.indices.data(),
                            values.data(), ctx_.template scratch<std::size_t>(kernel::importance_chunks(n)).data());
    return true;
  }

 private:
  void split() { sums_ = kernel::sum_capped(ctx_.exec, x_.data(), x_.extent(0), cap_, partial_.data()); }
};

}  // namespace gradpress
