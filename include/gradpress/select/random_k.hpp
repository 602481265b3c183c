// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: k entries drawn without replacement from a key that all ranks share.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/permute.hpp>
#include <gradpress/select/density.hpp>

#include <bit>
#include <cstring>

namespace gradpress {

/// Keeps k = max(1, floor(density n)) entries, uniformly without replacement, the same on all ranks.
///
/// - Shape     n coefficients in, k indices out.
/// - Order     indices ascend.
/// - Cost      k evaluations of a keyed permutation and one pass over a bitmap of n bits. No indices travel and values
///             add up, so the exchange is an all-reduce.
/// - Edges     n = 0 keeps nothing; density 1 is the identity.
/// - Bias      a contraction with delta = k/n in expectation: use it with a memory. Values are not scaled by n/k:
///             scaled and with a memory the method diverges for k < n/2.
/// - Source    Stich, Cordonnier, Jaggi, NeurIPS 2018, definition 2.1. Differs: a Feistel permutation of the shared
///             key, not a generator's state, so that no rank can fall out of step.
struct random_k {
  double density = 0.01;  ///< kept share, in (0, 1]

  using family = family::selector;
  static constexpr std::string_view name = "random_k";
  static constexpr auto knobs = std::tuple{knob{"density", &random_k::density}};
  static constexpr support where = support::shared;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  void select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n);
    kept.count = k;
    if (k == 0) return;
    kernel::permutation const shuffle{ctx.shared(purpose::support), static_cast<index_t>(n)};
    auto const words = (n + 63) / 64;
    auto const chosen = ctx.template scratch<std::uint64_t>(words);
    std::memset(chosen.data(), 0, 8 * words);
    for (index_t i = 0; i < k; ++i) {
      auto const j = shuffle(i);
      chosen(j / 64) |= std::uint64_t{1} << j % 64;
    }
    std::size_t m = 0;
    for (std::size_t w = 0; w < words; ++w)
      for (auto bits = chosen(w); bits != 0; bits &= bits - 1)
        kept.indices(m++) = static_cast<index_t>(64 * w + static_cast<std::size_t>(std::countr_zero(bits)));
  }
};

static_assert(explain_selector<random_k>());

}  // namespace gradpress
