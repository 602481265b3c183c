// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the global top-k of the sum in O(k) traffic, whatever the number of ranks.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/balanced_regions.hpp>
#include <gradpress/exchange/even_gather.hpp>
#include <gradpress/exchange/passing_sums.hpp>
#include <gradpress/exchange/split_reduce.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/last_threshold.hpp>

namespace gradpress {

/// Ok-Topk: split the entries by regions, add, drop what lies below a threshold that the last step left, gather the rest.
///
/// - Accepts   sorted float streams: a selector with its own support, such as top_k or reused_top_k, and no quantizer. k is
///             the most entries that the selector keeps; where that is n, the result is the exact sum.
/// - Network   each rank sends its entries, k at most, once and receives about k, then sends about k/P and receives about k,
///             2 k at most: 6 k words on average over the ranks, where a gather brings (P - 1) k entries. In every
///             `period`-th step up to P k entries arrive.
/// - Threshold of the sum, equal on all ranks. What lies below it is not gathered, nor more than 2 k + P entries, of which
///             the fullest regions leave out their smallest; of what passed the k largest are kept, by (|sum| descending,
///             index ascending), and the smallest of them is the next threshold. If fewer than k pass, fewer are kept and
///             the next threshold is lower. In every `period`-th step, and where there is no threshold yet, each owner
///             passes its k largest, and the result is the exact top-k of the sum.
/// - Regions   boundaries that split each rank's entries evenly, averaged over the ranks in every `rebalance`-th step.
///             In between, where one region has more than twice its share of what is gathered, entries move to the ranks
///             that have less before they are gathered.
/// - Memory    what a rank sent under an index that is not kept returns to its memory; a kept entry is the sum of all ranks
///             that sent it. Nothing vanishes.
/// - State     the threshold and P - 1 boundaries a tensor, in checkpoints, undone by a rollback. Behind a projector of
///             several rounds only the last round reuses; earlier ones are exact.
/// - Source    S. Li, T. Hoefler, Near-Optimal Sparse Allreduce for Distributed Deep Learning, PPoPP 2022. Differs: the
///             threshold follows the k-th value instead of being scaled by a constant; cuts at 2 k + P before the gather
///             and at k behind it.
struct ok_top_k {
  int period = 32;     ///< steps from one exact threshold to the next
  int rebalance = 64;  ///< steps from one agreement on regions to the next

  using family = family::exchange;
  static constexpr std::string_view name = "ok_top_k";
  static constexpr auto knobs = std::tuple{knob{"period", &ok_top_k::period}, knob{"rebalance", &ok_top_k::rebalance}};

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "ok_top_k: adds sparse floats; use a selector with its own support, such as top_k or reused_top_k, "
                  "and neither a quantizer nor an index code.");
    return accepts(Kind);
  }
  void check() const {
    if (period < 1 || rebalance < 1)
      throw configuration_error("ok_top_k: period and rebalance must be at least 1, they are " +
                                std::to_string(period) + " and " + std::to_string(rebalance));
  }

  /// [0] the threshold, 0 where there is none. [1] 1 if regions were agreed on, then the bits of their P - 1 starts.
  template <class Exec>
  struct state : two_versions<Exec> {
    state(ok_top_k const&, step<Exec> const& ctx, shape) : two_versions<Exec>{zeros(ctx), zeros(ctx)} {}
    template <class V>
    void visit(V&& v) {
      v("agreed", this->stands);
    }

   private:
    static buffer<Exec> zeros(step<Exec> const& ctx) {
      return kernel::zeros(ctx.exec, "gradpress::agreed", static_cast<std::size_t>(ctx.world) + 1);
    }
  };

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank()), S = l.sections.size();
    auto const length = [&](std::size_t i) { return detail::length_of(ctx, l, i); };
    auto const most_of = [&](std::size_t i) { return detail::most_entries(ctx, l, l.sections[i]); };
    auto const starts = ctx.template scratch<index_t>(S * (P + 1));
    detail::agree_on_regions(ctx, to, l, due(ctx.number, rebalance), regions_of(ctx, l), starts);
    auto const parts = [&](std::size_t i, std::size_t p) {
      std::size_t const from = starts(i * (P + 1) + p), end = starts(i * (P + 1) + p + 1);
      return std::pair{from, end - from};
    };
    auto const pieces = detail::scatter_parts(ctx, to, l, parts, length);

    std::size_t most = sizeof(letter_header), results = 0;
    for (std::size_t i = 0; i < S; ++i) {
      auto const n = length(i), k = most_of(i);
      most += 4 + std::min(8 * k, 4 * n);
      results += sum_stream::bytes_of(k, n);
    }
    auto const sums = ctx.template scratch<detail::passing>(S);
    for (std::size_t i = 0; i < S; ++i)
      sums(i) = detail::add_passing(ctx, {pieces.data() + i * P, P}, length(i), reused(ctx, l, i), most_of(i));
    auto const counts = ctx.template scratch<std::uint32_t>(P * S);  // of rank p's section i: p S + i
    detail::agree_on_counts(to, l, {sums.data(), S}, most_of, counts);

    auto const out = l.outbox(std::max(most, results));
    std::size_t size = sizeof(letter_header);
    l.sizes.assign(P, sizeof(letter_header));
    for (std::size_t i = 0; i < S; ++i) {
      auto const k = most_of(i);
      auto const limit = reused(ctx, l, i) == 0 ? k : detail::fair_share(counts.data() + i, S, P, k, 2 * k + P);
      for (std::size_t p = 0; p < P; ++p)
        l.sizes[p] += sum_stream::bytes_of(std::min<std::size_t>(counts(p * S + i), limit), parts(i, p).second);
      auto const& own = sums(i);
      auto const count = detail::leave_largest(ctx, own.index, own.value, own.count, limit);
      kernel::stream const mine{own.index, own.value, count};
      size += sum_stream::write(mine, 0, parts(i, r).second, out.data() + size);
    }
    letter<Exec>::seal(ctx, part(out, 0, size));
    std::size_t total = 0;
    for (std::size_t p = 0; p < P; ++p) total += l.sizes[p];
    auto const all = detail::room_for_all(ctx, l, P, total, length);
    detail::gather_evenly(to, l, part(out, 0, size), ctx.template scratch<std::byte>(most + 4), all);

    auto const kept = ctx.template scratch<sum_stream>(S * P);
    for (std::size_t i = 0; i < S; ++i)
      for (std::size_t p = 0; p < P; ++p) kept(i * P + p) = {.length = parts(i, p).second};
    for (std::size_t p = 0, at = 0; p < P; at += l.sizes[p++])
      detail::read_sums(
          ctx, l, part(all, at, l.sizes[p]), p, [&](std::size_t i) { return parts(i, p).second; },
          [&](std::size_t i, sum_stream const& sum) { kept(i * P + p) = sum; });

    l.form = arrival_form::sums;
    l.arrived.clear();
    std::size_t at = 0;
    for (std::size_t i = 0; i < S; ++i) {
      auto const bytes =
          keep_global(ctx, l, i, {kept.data() + i * P, P}, {starts.data() + i * (P + 1), P + 1}, out.data() + at);
      l.sections[i].first = i;
      l.sections[i].count = 1;
      l.arrived.push_back(in_bytes<Exec>(out.data() + at, bytes));
      at += bytes;
    }
  }

 private:
  template <class Exec>
  static state<Exec>* state_of_section(step<Exec> const& ctx, letter<Exec> const& l, std::size_t i) {
    auto const& s = l.sections[i];
    return static_cast<state<Exec>*>(s.who->exchange_state(letter<Exec>::context_of(ctx, s)));
  }
  template <class Exec>
  static auto regions_of(step<Exec> const& ctx, letter<Exec> const& l) {
    return [&](std::size_t i) {
      auto* const s = state_of_section(ctx, l, i);
      return s == nullptr ? detail::kept_regions{}
                          : detail::kept_regions{s->stands.data() + 1, s->tentative.data() + 1};
    };
  }
  [[nodiscard]] static bool due(std::uint64_t number, int every) {
    return number % static_cast<std::uint64_t>(every) == 0;
  }
  /// The threshold of the step before, if it is used for section i, else 0. Alike on all ranks.
  template <class Exec>
  [[nodiscard]] float reused(step<Exec> const& ctx, letter<Exec> const& l, std::size_t i) const {
    auto const* const memory = state_of_section(ctx, l, i);
    return memory != nullptr && memory->stands(0) > 0 && !due(ctx.number, period) ? memory->stands(0) : 0.f;
  }

  /// Of all ranks' entries the k largest, as a sum over the whole tensor; what this rank sent and is not among them
  /// returns to its memory.
  template <class Exec>
  std::size_t keep_global(step<Exec> const& ctx, letter<Exec>& l, std::size_t i, std::span<sum_stream const> kept,
                          std::span<index_t const> starts, std::byte* out) const {
    auto const n = detail::length_of(ctx, l, i), k = detail::most_entries(ctx, l, l.sections[i]);
    auto const room = detail::room_of_sums(kept, k, n);
    auto const index = ctx.template scratch<index_t>(room);
    auto const value = ctx.scratch(room);
    std::size_t passed = 0;
    for (std::size_t p = 0; p < kept.size(); ++p)
      passed += detail::entries_of(kept[p], starts[p], index.data() + passed, value.data() + passed);
    auto const count = detail::leave_largest(ctx, index.data(), value.data(), passed, k);
    if (auto* const memory = state_of_section(ctx, l, i))
      memory->tentative(0) =
          k < n ? next_threshold(ctx.number, memory->stands(0), {value.data(), count}, passed, k) : 0.f;
    auto const& s = l.sections[i];
    s.who->reclaim(letter<Exec>::context_of(ctx, s), {index.data(), count});
    return sum_stream::write({index.data(), value.data(), count}, 0, n, out);
  }
  [[nodiscard]] float next_threshold(std::uint64_t number, float t, std::span<float const> kept, std::size_t passed,
                                     std::size_t k) const {
    if (passed >= k) return kernel::smallest_magnitude(kept);
    if (due(number, period)) return 0;  // the sum has fewer entries than k: let all pass
    return kernel::lowered_threshold(t, passed, k);
  }
};

static_assert(explain_exchange<ok_top_k>());
GRADPRESS_EXCHANGE_ONCE(ok_top_k);

}  // namespace gradpress
