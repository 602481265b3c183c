// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: the k entries of largest magnitude, exactly.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/top_k.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

/// Keeps the k = max(1, floor(density n)) entries of largest |x|.
///
/// - Shape     n coefficients in, k indices out.
/// - Order     membership by (|x| descending, index ascending); indices ascend. The same on every machine, for every
///             number of threads and every instruction set.
/// - Cost      about one read of x: a sampled threshold first, then one pass, then an exact selection among few
///             candidates. A memory's signal is made in the same pass: with error feedback 12 bytes an element.
/// - Edges     n = 0 keeps nothing; density 1 is the identity; ties go to the lowest index; NaN is found and refused.
/// - Bias      biased, a contraction with delta = k/n: use it with a memory, and never rescale.
/// - Source    Aji and Heafield, EMNLP 2017; Stich, Cordonnier, Jaggi, Sparsified SGD with Memory, NeurIPS 2018,
///             definition 2.1.
struct top_k {
  double density = 0.01;  ///< kept share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "top_k";
  static constexpr auto knobs = std::tuple{knob{"density", &top_k::density}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n);
    kept.count = k;
    auto const work = ctx.template scratch<std::byte>(kernel::top_k_workspace(n, k));
    return kernel::top_k(ctx.exec, x.data(), n, k, work.data(), kept.indices.data(), ctx.scratch(k).data());
  }
  template <class Exec>
  bool select_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> a, selection<Exec>& kept,
                  view<Exec> values) const {
    auto const n = g.extent(0), k = max_kept(n);
    kept.count = k;
    auto const work = ctx.template scratch<std::byte>(kernel::top_k_workspace(n, k));
    return kernel::top_k_sum(ctx.exec, g.data(), e.data(), a.data(), n, k, work.data(), kept.indices.data(),
                             values.data());
  }
  template <class Exec>
  bool select_formed(step<Exec> const& ctx, kernel::forming const& form, view<Exec> a, selection<Exec>& kept,
                     view<Exec> values) const {
    auto const n = a.extent(0), k = max_kept(n);
    kept.count = k;
    auto const work = ctx.template scratch<std::byte>(kernel::top_k_workspace(n, k));
    return kernel::top_k_formed(ctx.exec, form, a.data(), n, k, work.data(), kept.indices.data(), values.data());
  }
};

static_assert(explain_selector<top_k>());

}  // namespace gradpress
