// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The entries that reach a threshold, of which at most so many are kept: what selectors with estimated thresholds share.

#include <gradpress/core/step.hpp>
#include <gradpress/kernel/compact.hpp>
#include <gradpress/kernel/kth.hpp>
#include <gradpress/kernel/last_threshold.hpp>
#include <gradpress/kernel/top_k.hpp>

#include <span>

namespace gradpress {

/// The entries of x that reach a threshold; zeros never do.
///
/// - Order   indices ascend.
/// - Cost    `collect` one read of x. 8 bytes of scratch an element, of which little more than the candidates is touched.
template <class Exec>
class candidates {
  step<Exec> const& ctx_;
  in<Exec> x_;
  view<Exec, index_t> at_;
  view<Exec> values_;
  view<Exec, std::size_t> chunks_;
  view<Exec, std::uint32_t> words_;
  std::size_t count_ = 0;
  bool finite_ = true;

  static float without_zeros(float tau) { return tau < kernel::lowest_threshold ? kernel::lowest_threshold : tau; }

 public:
  candidates(step<Exec> const& ctx, in<Exec> x)
      : ctx_(ctx),
        x_(x),
        at_(ctx.template scratch<index_t>(x.extent(0))),
        values_(ctx.scratch(x.extent(0))),
        chunks_(ctx.template scratch<std::size_t>(kernel::compact_chunks(x.extent(0)))),
        words_(ctx.template scratch<std::uint32_t>(kernel::kth_words)) {}

  /// Takes the entries with |x| >= tau and not 0. False: one of x is NaN or infinite.
  bool collect(float tau) {
    count_ = kernel::compact(ctx_.exec, x_.data(), x_.extent(0), without_zeros(tau), at_.data(), values_.data(),
                             chunks_.data(), finite_);
    return finite_;
  }
  /// The same of x = g + e, which is made in the same pass and goes to `x`, the array that this one was made for.
  bool collect_sum(in<Exec> g, in<Exec> e, view<Exec> x, float tau) {
    count_ = kernel::compact_sum(ctx_.exec, g.data(), e.data(), x.data(), x.extent(0), without_zeros(tau), at_.data(),
                                 values_.data(), chunks_.data(), finite_);
    return finite_;
  }
  /// The same of any signal that is made in the same pass and goes to `x`.
  bool collect_formed(kernel::forming const& form, view<Exec> x, float tau) {
    count_ = kernel::compact_formed(ctx_.exec, form, x.data(), x.extent(0), without_zeros(tau), at_.data(),
                                    values_.data(), chunks_.data(), finite_);
    return finite_;
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::span<float const> values() const noexcept { return {values_.data(), count_}; }
  /// How many of them reach tau.
  [[nodiscard]] std::size_t reaching(float tau) const noexcept {
    auto const least = kernel::magnitude(tau);
    std::size_t m = 0;
    for (auto const v : values()) m += kernel::magnitude(v) >= least ? 1u : 0u;
    return m;
  }
  /// Drops those that do not reach tau.
  void narrow(float tau) noexcept {
    auto const least = kernel::magnitude(tau);
    std::size_t m = 0;
    for (std::size_t j = 0; j < count_; ++j) {
      at_(m) = at_(j);
      values_(m) = values_(j);
      m += kernel::magnitude(values_(j)) >= least ? 1u : 0u;
    }
    count_ = m;
  }

  /// Keeps them all, or exactly the `most` largest by (|x| descending, index ascending): not the first ones. Their values
  /// go to `values` unless it is null.
  void keep(std::size_t most, selection<Exec>& kept, float* values = nullptr) const {
    kept.count = std::min(count_, most);
    auto* out = kept.indices.data();
    if (count_ <= most) {
      std::copy_n(at_.data(), count_, out);
      if (values != nullptr) std::copy_n(values_.data(), count_, values);
      return;
    }
    auto [value, ties, level] =
        kernel::find_kth(ctx_.exec, values_.data(), count_, most, count_, 0, kernel::not_finite, words_.data());
    for (std::size_t j = 0, left = most; left > 0; ++j) {
      auto const m = kernel::magnitude(values_(j));
      if (m < value || (m == value && ties == 0)) continue;
      ties -= m == value;
      *out++ = at_(j);
      if (values != nullptr) *values++ = values_(j);
      --left;
    }
  }
};

/// The way out where no estimate did: exactly the k largest entries of x, but no zeros. It takes its scratch when it is
/// made, so that the first step needs as much as any later one.
template <class Exec>
class exact_search {
  step<Exec> const& ctx_;
  in<Exec> x_;
  std::size_t k_;
  view<Exec, std::byte> work_;
  view<Exec> values_;

 public:
  exact_search(step<Exec> const& ctx, in<Exec> x, std::size_t k)
      : ctx_(ctx),
        x_(x),
        k_(k),
        work_(ctx.template scratch<std::byte>(kernel::top_k_workspace(x.extent(0), k))),
        values_(ctx.scratch(k)) {}

  /// x is finite.
  void keep(selection<Exec>& kept) const {
    kernel::top_k(ctx_.exec, x_.data(), x_.extent(0), k_, work_.data(), kept.indices.data(), values_.data());
    kept.count = 0;
    for (std::size_t j = 0; j < k_; ++j)
      if (values_(j) != 0) kept.indices(kept.count++) = kept.indices(j);
  }
};

}  // namespace gradpress
