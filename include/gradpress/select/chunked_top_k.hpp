// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: the entries of largest magnitude of every chunk.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/chunked_top_k.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

/// Cuts the coefficients into chunks of fixed length and keeps, of each, the max(1, floor(density length)) entries of
/// largest |x|.
///
/// - Shape     n coefficients in, k_c indices out for every whole chunk, and those of the shorter last one.
/// - Order     membership by (|x| descending, index ascending) inside a chunk; indices ascend. The same on every
///             machine, for every number of threads and every instruction set.
/// - Cost      one read of x, and no step that waits for all of it. A memory's signal is made in the
///             same pass.
/// - Edges     n = 0 keeps nothing; density 1 is the identity; n <= chunk is top_k; short chunks keep an entry each,
///             so that 1/chunk is the least density; NaN is found and refused.
/// - Bias      biased, a contraction with delta = k_c/chunk (of the last chunk, k/length, if that is less). Large
///             entries that stand together compete: it keeps less energy than top_k of as many entries, never more.
/// - Source    the chunks of DeMo: Peng, Quesnelle, Kingma, DeMo: Decoupled Momentum Optimization, 2024, there 64 x 64
///             coefficients of a cosine transform, 32 kept. Differs: chunks of a vector, no transform.
struct chunked_top_k {
  double density = 0.01;       ///< kept share of every chunk, in (0, 1]
  std::uint32_t chunk = 4096;  ///< entries of a chunk, 1 to 65536

  using family = family::selector;
  static constexpr std::string_view name = "chunked_top_k";
  static constexpr auto knobs =
      std::tuple{knob{"density", &chunked_top_k::density}, knob{"chunk", &chunked_top_k::chunk}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return chunks(n).kept(); }
  void check() const {
    check_density(name, density);
    if (chunk < 1 || chunk > 65536)
      throw configuration_error("chunked_top_k: chunk must lie in 1 .. 65536, it is " + std::to_string(chunk));
  }

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    auto const c = chunks(x.extent(0));
    kept.count = c.kept();
    return kernel::chunked_top_k(ctx.exec, x.data(), c, work(ctx, c), kept.indices.data(),
                                 ctx.scratch(kept.count).data());
  }
  template <class Exec>
  bool select_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> a, selection<Exec>& kept,
                  view<Exec> values) const {
    auto const c = chunks(g.extent(0));
    kept.count = c.kept();
    return kernel::chunked_top_k_sum(ctx.exec, g.data(), e.data(), a.data(), c, work(ctx, c), kept.indices.data(),
                                     values.data());
  }
  template <class Exec>
  bool select_formed(step<Exec> const& ctx, kernel::forming const& form, view<Exec> a, selection<Exec>& kept,
                     view<Exec> values) const {
    auto const c = chunks(a.extent(0));
    kept.count = c.kept();
    return kernel::chunked_top_k_formed(ctx.exec, form, a.data(), c, work(ctx, c), kept.indices.data(), values.data());
  }

 private:
  [[nodiscard]] constexpr kernel::chunks_of_k chunks(std::size_t n) const noexcept {
    return {n, chunk, kept_of(density, chunk), kept_of(density, n % chunk)};
  }
  template <class Exec>
  static std::uint32_t* work(step<Exec> const& ctx, kernel::chunks_of_k const& c) {
    return ctx.template scratch<std::uint32_t>(kernel::chunked_top_k_words(c)).data();
  }
};

static_assert(explain_selector<chunked_top_k>());

}  // namespace gradpress
