// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: the k entries of largest magnitude of one rank, the same on all ranks.

#include <gradpress/select/top_k.hpp>

namespace gradpress {

/// In step t rank t mod P finds its k = max(1, floor(density n)) entries of largest |x| and tells the others where they
/// are; all ranks send what they have there.
///
/// - Shape     n coefficients in, k indices out, the same on all ranks.
/// - Order     as top_k at the leader; indices ascend.
/// - Cost      at the leader that of top_k, elsewhere one read of x for the finite check. The leader's positions travel
///             in a phase of their own (4 k bytes, or less with an index code), then values add up in an all-reduce:
///             the bytes do not grow with P.
/// - Edges     n = 0 keeps nothing; density 1 is the identity; NaN is found and refused on any rank.
/// - Bias      biased: use it with a memory. A contraction with delta = k/n for the leader's signal; for the others' only
///             as far as their signals resemble it, and in P steps each leads once.
/// - Source    Chen et al., ScaleCom: Scalable Sparsified Gradient Compression for Communication-Efficient Distributed
///             Training, NeurIPS 2020 (CLT-k). Differs: exact selection, and the memory is that of the method, without
///             the low-pass filter.
struct leader_top_k {
  double density = 0.01;  ///< kept share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "leader_top_k";
  static constexpr auto knobs = std::tuple{knob{"density", &leader_top_k::density}};
  static constexpr support where = support::shared;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  [[nodiscard]] int leader(step<Exec> const& ctx) const {
    return static_cast<int>(ctx.number % static_cast<std::uint64_t>(ctx.world));
  }
  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    return top_k{density}.select(ctx, x, kept);
  }
};

static_assert(explain_selector<leader_top_k>());
static_assert(leading<leader_top_k> && !leading<top_k>);

}  // namespace gradpress
