// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: about the k entries of largest magnitude, by a threshold that a sample of them suggests.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/select/candidates.hpp>
#include <gradpress/select/density.hpp>

#include <bit>

namespace gradpress {

/// Keeps the entries with |x| >= tau, where tau is the magnitude that the wanted share of a sample reaches; exactly
/// k = max(1, floor(density n)) of them, the largest, if there are more than k.
///
/// - Shape     n coefficients in, between 0.8 k and k indices out, or all entries that are not zero if those are fewer
///             than 0.8 k: messages of variable size, but never of more than k entries.
/// - Order     indices ascend.
/// - Cost      one read of x and of the sample, and k entries. Where tau was too high, a read for each of up to two
///             lowered ones (0.8 tau), and after those an exact top_k.
/// - Edges     n = 0 keeps nothing, nor does x = 0; zeros are never kept; a sample as large as x makes it exact; NaN is
///             found and refused.
/// - Bias      biased, a contraction with delta = 0.8 k/n at least: use it with a memory, and never rescale. What is cut
///             off above k are the smallest candidates, not the last ones.
/// - Source    Lin, Han, Mao, Wang, Dally, Deep Gradient Compression, ICLR 2018, section 3. Differs: tau is lowered
///             twice and then found exactly, and never raised, since too many candidates are thinned out exactly; the
///             sample consists of runs of 16 neighbours, drawn anew by rank and step.
struct sampled_top_k {
  double density = 0.01;  ///< kept share, in (0, 1]
  double sample = 0.01;   ///< share that is sampled, in (0, 1]; at least what holds 64 kept entries

  using family = family::selector;
  static constexpr std::string_view name = "sampled_top_k";
  static constexpr auto knobs =
      std::tuple{knob{"density", &sampled_top_k::density}, knob{"sample", &sampled_top_k::sample}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const {
    check_density(name, density);
    if (!(sample > 0 && sample <= 1))
      throw configuration_error("sampled_top_k: sample must lie in (0, 1], it is " + std::to_string(sample));
  }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    constexpr int lowerings = 2;
    auto const n = x.extent(0), k = max_kept(n), enough = k - k / 5;
    kept.count = 0;
    if (n == 0) return true;
    exact_search<Exec> const exact(ctx, x, k);
    candidates<Exec> found(ctx, x);
    auto tau = estimate(ctx, x, k);
    for (int round = 0; round <= lowerings; ++round, tau *= 0.8f) {
      if (!found.collect(tau)) return false;
      if (found.count() >= enough || tau == 0) return found.keep(k, kept), true;
    }
    exact.keep(kept);
    return true;
  }

 private:
  static constexpr std::size_t run = 16;  // neighbours, a cache line of them

  /// The magnitude that the share k/n of a sample reaches.
  template <class Exec>
  float estimate(step<Exec> const& ctx, in<Exec> x, std::size_t k) const {
    auto const n = x.extent(0);
    auto const wanted = std::max(sample * static_cast<double>(n), 64 / density);
    auto const whole = wanted > static_cast<double>(n / 2);
    auto const runs = whole ? 0 : static_cast<std::size_t>(wanted) / run + 1;
    auto const m = whole ? n : runs * run;
    auto const words = ctx.template scratch<std::uint32_t>(kernel::kth_words);
    auto const taken = ctx.scratch(whole ? 0 : m);
    if (!whole) draw(ctx, x, runs, taken.data());
    auto const rank = std::max<std::size_t>(1, static_cast<std::size_t>(std::uint64_t{k} * m / n));
    return std::bit_cast<float>(
        kernel::find_kth(ctx.exec, whole ? x.data() : taken.data(), m, rank, m, 0, 0x80000000u, words.data()).value);
  }
  /// One run out of each of equal parts of x, somewhere in it.
  template <class Exec>
  static void draw(step<Exec> const& ctx, in<Exec> x, std::size_t runs, float* out) {
    auto const places = ctx.own(purpose::support);
    auto const part = x.extent(0) / runs;
    for (std::size_t r = 0; r < runs; ++r, out += run) {
      auto const at = r * part + places.bits(r) % (part - run + 1);
      std::copy_n(x.data() + at, run, out);
    }
  }
};

static_assert(explain_selector<sampled_top_k>());

}  // namespace gradpress
