// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: about the k entries of largest magnitude, by the threshold that the step before left.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/last_threshold.hpp>
#include <gradpress/select/candidates.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

/// Keeps the entries with |x| >= t; exactly k = max(1, floor(density n)) of them, the largest, if there are more than
/// k. t is the k-th magnitude of the step before if so many passed, else a little lower. In every `period`-th step,
/// where there is no t yet, and where fewer than 0.8 k pass, the k largest are found exactly.
///
/// - Shape     n coefficients in, between 0.8 k and k indices out, or all entries that are not zero if those are fewer:
///             messages of variable size, but never of more than k entries.
/// - Order     indices ascend. Where k or more pass, they are those of top_k.
/// - Cost      one read of x, or one pass that makes the signal where its memory can do so piece by piece (12 bytes an
///             element if it is a sum), and work on what passes. Where too few pass, a top_k behind it. The first step,
///             and every `period`-th, are top_k's.
/// - State     2 floats a tensor, this rank's own: t, 0 where there is none; and how often the selection was exact,
///             counted up to 2^24. Behind a projector of several rounds earlier rounds are always exact.
/// - Edges     n = 0 keeps nothing, nor does x = 0; zeros are never kept; NaN is found and refused. A scale that jumps
///             up costs one step in which all candidates are sorted, one that jumps down an exact top_k; no message
///             grows.
/// - Bias      biased, a contraction with delta = 0.8 k/n at least: use it with a memory, and never rescale.
/// - Source    S. Li, T. Hoefler, Near-Optimal Sparse Allreduce for Distributed Deep Learning, PPoPP 2022. Differs: t
///             follows the k-th magnitude where the authors' code scales it by constants; what exceeds k is cut by
///             magnitude, not sent.
struct reused_top_k {
  double density = 0.01;  ///< kept share, in (0, 1]
  int period = 32;        ///< steps from one exact threshold to the next

  using family = family::selector;
  static constexpr std::string_view name = "reused_top_k";
  static constexpr auto knobs =
      std::tuple{knob{"density", &reused_top_k::density}, knob{"period", &reused_top_k::period}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return kept_of(density, n); }
  void check() const {
    check_density(name, density);
    if (period < 1)
      throw configuration_error("reused_top_k: period must be at least 1, it is " + std::to_string(period));
  }

  template <class Exec>
  struct state : two_versions<Exec> {  ///< the threshold; exact selections so far
    state(reused_top_k const&, step<Exec> const& ctx, shape)
        : two_versions<Exec>{kernel::zeros(ctx.exec, "gradpress::threshold", 2),
                             kernel::zeros(ctx.exec, "gradpress::threshold", 2)} {}
    template <class V>
    void visit(V&& v) {
      v("threshold", this->stands);
    }
  };

  template <class Exec>
  bool select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept, state<Exec>& s) const {
    search<Exec> here(ctx, x, max_kept(x.extent(0)));
    auto const collect = [&](float t) { return here.found.collect(t); };
    auto const exactly = [&](auto const& out) {
      return kernel::top_k(ctx.exec, x.data(), x.extent(0), here.k, here.work.data(), out.index, out.value);
    };
    return choose(ctx, here, x, collect, exactly, kept, ctx.scratch(here.k), s);
  }
  template <class Exec>
  bool select_sum(step<Exec> const& ctx, in<Exec> g, in<Exec> e, view<Exec> a, selection<Exec>& kept, view<Exec> values,
                  state<Exec>& s) const {
    search<Exec> here(ctx, in<Exec>(a), max_kept(a.extent(0)));
    auto const collect = [&](float t) { return here.found.collect_sum(g, e, a, t); };
    auto const exactly = [&](auto const& out) {
      return kernel::top_k_sum(ctx.exec, g.data(), e.data(), a.data(), a.extent(0), here.k, here.work.data(), out.index,
                               out.value);
    };
    return choose(ctx, here, in<Exec>(a), collect, exactly, kept, values, s);
  }
  template <class Exec>
  bool select_formed(step<Exec> const& ctx, kernel::forming const& form, view<Exec> a, selection<Exec>& kept,
                     view<Exec> values, state<Exec>& s) const {
    search<Exec> here(ctx, in<Exec>(a), max_kept(a.extent(0)));
    auto const collect = [&](float t) { return here.found.collect_formed(form, a, t); };
    auto const exactly = [&](auto const& out) {
      return kernel::top_k_formed(ctx.exec, form, a.data(), a.extent(0), here.k, here.work.data(), out.index,
                                  out.value);
    };
    return choose(ctx, here, in<Exec>(a), collect, exactly, kept, values, s);
  }

 private:
  /// The scratch of both ways, so that the first step needs as much as any later one.
  template <class Exec>
  struct search {
    std::size_t k;
    candidates<Exec> found;
    view<Exec, std::byte> work;
    search(step<Exec> const& ctx, in<Exec> x, std::size_t most)
        : k(most), found(ctx, x), work(ctx.template scratch<std::byte>(kernel::top_k_workspace(x.extent(0), most))) {}
  };

  struct places {
    index_t* index;
    float* value;
  };
  /// collect(t) takes what passes, exactly(places) the k largest, and either makes the signal; x is that, once it is made.
  /// False where it is not finite.
  template <class Exec, class Collect, class Exactly>
  bool choose(step<Exec> const& ctx, search<Exec>& here, in<Exec> x, Collect const& collect, Exactly const& exactly,
              selection<Exec>& kept, view<Exec> values, state<Exec>& s) const {
    constexpr auto least = kernel::lowest_threshold;
    auto const k = here.k;
    auto const t = s.stands(0);
    bool const reused = t > 0 && ctx.number % static_cast<std::uint64_t>(period) != 0;
    kept.count = 0;
    if (reused && !collect(t)) return false;
    auto const passed = reused ? here.found.count() : 0;
    bool const enough = reused && (passed >= k - k / 5 || t <= least);
    if (enough) {
      here.found.keep(k, kept, values.data());
    } else {
      places const out{kept.indices.data(), values.data()};
      if (!reused && !exactly(out)) return false;
      if (reused) kernel::top_k(ctx.exec, x.data(), x.extent(0), k, here.work.data(), out.index, out.value);
      for (std::size_t j = 0; j < k; ++j)
        if (values(j) != 0) {
          kept.indices(kept.count) = kept.indices(j);
          values(kept.count++) = values(j);
        }
    }
    s.tentative(1) = s.stands(1) + (enough ? 0.f : 1.f);
    s.tentative(0) = kept.count == k ? kernel::smallest_magnitude({values.data(), k})
                     : enough        ? std::max(least, kernel::lowered_threshold(t, passed, k))
                                     : least;
    return true;
  }
};

static_assert(explain_selector<reused_top_k>());

}  // namespace gradpress
