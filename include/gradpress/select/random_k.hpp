// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selectors: k entries drawn without replacement, from a key that all ranks share or from each rank's own.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/permute.hpp>
#include <gradpress/kernel/sparse.hpp>
#include <gradpress/select/density.hpp>

#include <bit>
#include <cstring>

namespace gradpress {

namespace detail {

/// k = kept.count of n positions, uniformly without replacement, ascending.
template <class Exec>
void draw_positions(step<Exec> const& ctx, key from, std::size_t n, selection<Exec>& kept) {
  if (kept.count == 0) return;
  kernel::permutation const shuffle{from, static_cast<index_t>(n)};
  auto const words = (n + 63) / 64;
  auto const chosen = ctx.template scratch<std::uint64_t>(words);
  std::memset(chosen.data(), 0, 8 * words);
  for (index_t i = 0; i < kept.count; ++i) {
    auto const j = shuffle(i);
    chosen(j / 64) |= std::uint64_t{1} << j % 64;
  }
  std::size_t m = 0;
  for (std::size_t w = 0; w < words; ++w)
    for (auto bits = chosen(w); bits != 0; bits &= bits - 1)
      kept.indices(m++) = static_cast<index_t>(64 * w + static_cast<std::size_t>(std::countr_zero(bits)));
}

/// Draws, gathers, and multiplies by n/k if `scaled`. False: x, or what is sent of it, is not finite.
template <class Exec>
bool draw_values(step<Exec> const& ctx, key from, in<Exec> x, bool scaled, selection<Exec>& kept, view<Exec> values) {
  auto const n = x.extent(0), k = kept.count;
  draw_positions(ctx, from, n, kept);
  auto const room = ctx.template scratch<unsigned char>(kernel::dense_chunks(n));
  if (!kernel::all_finite(ctx.exec, x.data(), n, room.data())) return false;
  kernel::gather(ctx.exec, x.data(), kept.indices.data(), k, values.data());
  if (!scaled || k == n) return true;
  kernel::scale_copy(ctx.exec, values.data(), k, static_cast<float>(static_cast<double>(n) / static_cast<double>(k)),
                     values.data());
  return kernel::all_finite(ctx.exec, values.data(), k, room.data());
}

}  // namespace detail

/// Keeps k = max(1, floor(density n)) entries, uniformly without replacement, the same on all ranks.
///
/// - Shape     n coefficients in, k indices out.
/// - Order     indices ascend.
/// - Cost      k evaluations of a keyed permutation and one pass over a bitmap of n bits. No indices travel and values
///             add up, so the exchange is an all-reduce.
/// - Edges     n = 0 keeps nothing; density 1 is the identity; NaN is found and refused, and so is a scaled value that
///             leaves the range of float.
/// - Bias      unscaled: a contraction with delta = k/n in expectation: use it with a memory. `scaled` sends n/k x:
///             unbiased, with variance (n/k - 1) |x|^2: use it without a memory, which diverges for k < n/2.
/// - Source    Stich, Cordonnier, Jaggi, NeurIPS 2018, definition 2.1; the scaled form Wangni et al., NeurIPS 2018.
///             Differs: a Feistel permutation of the shared key, not a generator's state, so that no rank can fall out
///             of step.
struct random_k {
  double density = 0.01;  ///< kept share, in (0, 1]
  bool scaled = false;    ///< send n/k times the values

  using family = family::selector;
  static constexpr std::string_view name = "random_k";
  static constexpr auto knobs = std::tuple{knob{"density", &random_k::density}, knob{"scaled", &random_k::scaled}};
  static constexpr support where = support::shared;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  bool select_values(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, view<Exec> values) const {
    kept.count = max_kept(x.extent(0));
    return detail::draw_values(ctx, ctx.shared(purpose::support), x, scaled, kept, values);
  }
};

/// The same with a draw of its own on every rank: P ranks together reach up to P k entries, and indices travel.
///
/// - Cost      as random_k, and 4 bytes an entry for its index; the exchange is a gather.
/// - Bias      as random_k. Scaled, the mean over P ranks of equal gradients has a P-th of its variance, where one
///             shared draw leaves it as it is.
struct own_random_k {
  double density = 0.01;  ///< kept share, in (0, 1]
  bool scaled = false;    ///< send n/k times the values

  using family = family::selector;
  static constexpr std::string_view name = "own_random_k";
  static constexpr auto knobs =
      std::tuple{knob{"density", &own_random_k::density}, knob{"scaled", &own_random_k::scaled}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const { check_density(name, density); }

  template <class Exec>
  bool select_values(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, view<Exec> values) const {
    kept.count = max_kept(x.extent(0));
    return detail::draw_values(ctx, ctx.own(purpose::support), x, scaled, kept, values);
  }
};

static_assert(explain_selector<random_k>());
static_assert(explain_selector<own_random_k>());

}  // namespace gradpress
