// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the global top-k of the sum in O(k) traffic, whatever the number of ranks.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/even_gather.hpp>
#include <gradpress/exchange/split_reduce.hpp>
#include <gradpress/kernel/dense.hpp>

namespace gradpress {

/// Ok-Topk: split the entries by regions, add, drop what lies below a threshold that the last step left, gather the rest.
///
/// - Accepts   sorted float streams of fixed size: a selector with its own support, such as top_k, and no quantizer.
/// - Network   each rank sends its k entries once and receives about k, then sends about k/P and receives about k, 2 k at
///             most: 6 k words on average over the ranks, where a gather brings (P - 1) k entries. In every `period`-th
///             step up to P k entries arrive.
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
///             local selection is the selector's own, exact one; the threshold follows the k-th value instead of being
///             scaled by a constant; cuts at 2 k + P before the gather and at k behind it.
struct ok_top_k {
  int period = 32;     ///< steps from one exact threshold to the next
  int rebalance = 64;  ///< steps from one agreement on regions to the next

  using family = family::exchange;
  static constexpr std::string_view name = "ok_top_k";
  static constexpr auto knobs = std::tuple{knob{"period", &ok_top_k::period}, knob{"rebalance", &ok_top_k::rebalance}};

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge && k.fixed_size; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(
        accepts(Kind),
        "ok_top_k: adds sparse float streams of fixed size; use a selector with its own support, such as top_k, "
        "and neither a quantizer nor an index code.");
    return accepts(Kind);
  }
  void check() const {
    if (period < 1 || rebalance < 1)
      throw configuration_error("ok_top_k: period and rebalance must be at least 1, they are " +
                                std::to_string(period) + " and " + std::to_string(rebalance));
  }

  template <class Exec>
  struct state {
    /// [0] the threshold, 0 where there is none. [1] 1 if regions were agreed on, then the bits of their P - 1 starts.
    buffer<Exec> agreed, tentative;
    state(ok_top_k const&, step<Exec> const& ctx, shape)
        : agreed(kernel::zeros(ctx.exec, "gradpress::agreed", static_cast<std::size_t>(ctx.world) + 1)),
          tentative(kernel::zeros(ctx.exec, "gradpress::agreed", static_cast<std::size_t>(ctx.world) + 1)) {}
    template <class V>
    void visit(V&& v) {
      v("agreed", agreed);
    }
    void commit() { std::swap(agreed, tentative); }
    void undo() { std::swap(agreed, tentative); }
  };

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank()), S = l.sections.size();
    auto const starts = ctx.template scratch<index_t>(S * (P + 1));
    agree_on_regions(ctx, to, l, starts);
    auto const parts = [&](std::size_t i, std::size_t p) {
      std::size_t const from = starts(i * (P + 1) + p), end = starts(i * (P + 1) + p + 1);
      return std::pair{from, end - from};
    };
    auto const pieces =
        detail::scatter_parts(ctx, to, l, parts, [&](std::size_t i) { return detail::length_of(ctx, l, i); });

    std::size_t most = sizeof(letter_header), results = 0;
    for (std::size_t i = 0; i < S; ++i) {
      auto const n = detail::length_of(ctx, l, i), k = l.sections[i].size / 8;
      most += 4 + std::min(8 * k, 4 * n);
      results += sum_stream::bytes_of(k, n);
    }
    auto const sums = ctx.template scratch<entries>(S);
    for (std::size_t i = 0; i < S; ++i) sums(i) = add_own(ctx, l.sections[i], {pieces.data() + i * P, P});
    auto const counts = ctx.template scratch<std::uint32_t>(P * S);  // of rank p's section i: p S + i
    agree_on_counts(to, l, {sums.data(), S}, counts);

    auto const out = l.outbox(std::max(most, results));
    std::size_t size = sizeof(letter_header);
    l.sizes.assign(P, sizeof(letter_header));
    for (std::size_t i = 0; i < S; ++i) {
      auto const limit = quota(ctx, l.sections[i], counts.data() + i, S, P);
      for (std::size_t p = 0; p < P; ++p)
        l.sizes[p] += sum_stream::bytes_of(std::min<std::size_t>(counts(p * S + i), limit), parts(i, p).second);
      auto const& own = sums(i);
      auto const count = largest(ctx, own.index, own.value, own.count, limit);
      size += sum_stream::write({own.index, own.value, count}, 0, parts(i, r).second, out.data() + size);
    }
    letter<Exec>::seal(ctx, part(out, 0, size));
    std::size_t total = 0;
    for (std::size_t p = 0; p < P; ++p) total += l.sizes[p];
    auto const all = detail::room_for_all(l, P, total, [&](std::size_t i) { return detail::length_of(ctx, l, i); });
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
  /// Of a sum: ascending indices and values, in scratch.
  struct entries {
    index_t* index;
    float* value;
    std::size_t count;
  };

  template <class Exec>
  static state<Exec>* state_of_section(step<Exec> const& ctx, typename letter<Exec>::section const& s) {
    return static_cast<state<Exec>*>(s.who->exchange_state(letter<Exec>::context_of(ctx, s)));
  }
  [[nodiscard]] static bool due(std::uint64_t number, int every) {
    return number % static_cast<std::uint64_t>(every) == 0;
  }

  /// starts: P + 1 a section, where its regions begin, and n. As they were; or agreed on anew, for all sections that are
  /// due, by one gather of 4 (P - 1) bytes each.
  template <class Exec>
  void agree_on_regions(step<Exec> const& ctx, transport& to, letter<Exec>& l, view<Exec, index_t> starts) const {
    auto const P = static_cast<std::size_t>(to.size()), S = l.sections.size();
    auto const wanted = ctx.template scratch<std::size_t>(S);  // sections to agree on
    std::size_t count = 0;
    for (std::size_t i = 0; i < S; ++i) {
      auto const n = detail::length_of(ctx, l, i);
      auto* const first = starts.data() + i * (P + 1);
      for (std::size_t p = 0; p <= P; ++p) first[p] = static_cast<index_t>(slice_of(n, p, P).first);
      auto* const s = state_of_section(ctx, l.sections[i]);
      if (s == nullptr) continue;
      if (s->agreed(1) == 0 || due(ctx.number, rebalance)) {
        wanted(count++) = i;
        continue;
      }
      for (std::size_t p = 1; p < P; ++p)  // from a checkpoint, perhaps: never out of order, never beyond the end
        first[p] = std::clamp(std::bit_cast<index_t>(s->agreed(p + 1)), first[p - 1], static_cast<index_t>(n));
    }
    if (count > 0 && P > 1) {
      auto const size = sizeof(letter_header) + 4 * count * (P - 1);
      auto const mine = l.outbox(size), all = l.inbox(P * size);
      auto const own = as<index_t>(part(mine, sizeof(letter_header), size - sizeof(letter_header)));
      for (std::size_t c = 0; c < count; ++c) {
        auto const stream = detail::own_stream(ctx, l, l.sections[wanted(c)]);
        for (std::size_t p = 1; p < P; ++p)
          own(c * (P - 1) + p - 1) =
              stream.count == 0 ? starts(wanted(c) * (P + 1) + p) : stream.indices[p * stream.count / P];
      }
      letter<Exec>::seal(ctx, mine);
      to.all_gather({mine.data(), size}, {all.data(), P * size});
      l.sent += size;
      ++l.messages;
      bool good = true;
      for (std::size_t q = 0; q < P; ++q) good = l.opens(ctx, part(all, q * size, size), static_cast<int>(q)) && good;
      for (std::size_t c = 0; c < count && good; ++c)
        average(all.data(), size, c, P, starts.data() + wanted(c) * (P + 1));
    }
    for (std::size_t i = 0; i < S; ++i)
      if (auto* const s = state_of_section(ctx, l.sections[i])) {
        s->tentative(1) = 1;
        for (std::size_t p = 1; p < P; ++p) s->tentative(p + 1) = std::bit_cast<float>(starts(i * (P + 1) + p));
      }
  }
  /// first[p] = the mean over the ranks, whose letters lie at `all` one behind the other, of their p-th start. Means of
  /// what ascends, ascend.
  static void average(std::byte const* all, std::size_t size, std::size_t c, std::size_t P, index_t* first) {
    for (std::size_t p = 1; p < P; ++p) {
      std::uint64_t sum = 0;
      for (std::size_t q = 0; q < P; ++q) {
        index_t start = 0;
        std::memcpy(&start, all + q * size + sizeof(letter_header) + 4 * (c * (P - 1) + p - 1), 4);
        sum += start;
      }
      first[p] = std::clamp(static_cast<index_t>(sum / P), first[p - 1], first[P]);
    }
  }

  /// Room for the entries of these sums, or of their sum, and one more, for the entry that is written and does not count.
  /// By what honest ranks could send at most, so that it never grows: k entries each, or 2 k numbers of a dense sum.
  template <class Exec>
  static std::size_t most_entries(step<Exec> const& ctx, typename letter<Exec>::section const& s,
                                  std::span<sum_stream const> sums) {
    std::size_t arrived = 0;
    for (auto const& sum : sums) arrived += sum.values().size();
    auto const length = s.who->length(letter<Exec>::context_of(ctx, s));
    return std::min(length, std::max(arrived, 2 * sums.size() * (s.size / 8))) + 1;
  }

  /// The entries of a sum that are not 0, as offsets plus `base`; returns how many.
  static std::size_t entries_of(sum_stream const& s, index_t base, index_t* index, float* value) {
    std::size_t at = 0;
    auto const take = [&](std::size_t i, float v) {
      index[at] = base + static_cast<index_t>(i);
      value[at] = v;
      at += static_cast<std::size_t>(v != 0);
    };
    if (s.dense != nullptr)
      for (std::size_t i = 0; i < s.length; ++i) take(i, s.dense[i]);
    for (std::size_t i = 0; i < s.sparse.count; ++i) take(s.sparse.indices[i], s.sparse.values[i]);
    return at;
  }

  /// Is the threshold of the step before used for this section? Alike on all ranks.
  template <class Exec>
  [[nodiscard]] bool reuses(step<Exec> const& ctx, typename letter<Exec>::section const& s) const {
    auto const* const memory = state_of_section(ctx, s);
    return memory != nullptr && memory->agreed(0) > 0 && !due(ctx.number, period);
  }

  /// Adds this rank's region: what passes the threshold, the k largest at most.
  template <class Exec>
  entries add_own(step<Exec> const& ctx, typename letter<Exec>::section const& s,
                  std::span<sum_stream const> pieces) const {
    auto const k = s.size / 8, length = pieces[0].length, room = most_entries(ctx, s, pieces);
    auto const streams = ctx.template scratch<kernel::stream>(pieces.size());
    auto const next = ctx.template scratch<std::size_t>(pieces.size());
    auto const sum = ctx.template scratch<std::byte>(4 + 8 * room);
    auto const bytes = sum_stream::write_sum(pieces, length, streams.data(), next.data(), sum.data());
    auto const added = sum_stream::read(sum.data(), bytes, length);
    auto const index = ctx.template scratch<index_t>(room);
    auto const value = ctx.scratch(room);
    auto count = entries_of(added, 0, index.data(), value.data());
    if (reuses(ctx, s)) {
      auto const least = kernel::magnitude(state_of_section(ctx, s)->agreed(0));
      std::size_t at = 0;
      for (std::size_t i = 0; i < count; ++i) {
        index(at) = index(i);
        value(at) = value(i);
        at += static_cast<std::size_t>(kernel::magnitude(value(i)) >= least);
      }
      count = at;
    }
    return {index.data(), value.data(), largest(ctx, index.data(), value.data(), count, k)};
  }

  /// How many entries each rank has to send of each section: S counts a rank. Throws `communicator_error` where one
  /// cannot be: without it this rank cannot take part any longer.
  template <class Exec>
  static void agree_on_counts(transport& to, letter<Exec>& l, std::span<entries const> sums,
                              view<Exec, std::uint32_t> counts) {
    auto const P = static_cast<std::size_t>(to.size()), S = sums.size(), size = 8 + 4 * S;
    auto const mine = l.outbox(size), all = l.inbox(P * size);
    for (std::size_t i = 0; i < S; ++i) {
      auto const count = static_cast<std::uint32_t>(sums[i].count);
      std::memcpy(mine.data() + 8 + 4 * i, &count, 4);
    }
    auto const check = checksum({mine.data() + 8, 4 * S});
    std::memcpy(mine.data(), &check, 8);
    to.all_gather({mine.data(), size}, {all.data(), P * size});
    l.sent += size;
    ++l.messages;
    for (std::size_t p = 0; p < P; ++p) {
      auto const* const theirs = all.data() + p * size;
      std::uint64_t expected = 0;
      std::memcpy(&expected, theirs, 8);
      bool good = checksum({theirs + 8, 4 * S}) == expected;
      for (std::size_t i = 0; i < S; ++i) {
        std::memcpy(&counts(p * S + i), theirs + 8 + 4 * i, 4);
        good = good && counts(p * S + i) <= l.sections[i].size / 8;
      }
      if (!good)
        throw communicator_error("the numbers of entries that rank " + std::to_string(p) +
                                 " announced were damaged on their way");
    }
  }

  /// The most entries that one rank sends of a section, so that all together send 2 k + P at most where a threshold is
  /// reused; regions that have fewer leave room to others. counts: that of rank p stands at p * stride.
  template <class Exec>
  std::size_t quota(step<Exec> const& ctx, typename letter<Exec>::section const& s, std::uint32_t const* counts,
                    std::size_t stride, std::size_t P) const {
    auto const k = s.size / 8, room = 2 * k + P;
    if (!reuses(ctx, s)) return k;
    auto const fits = [&](std::size_t each) {
      std::size_t sum = 0;
      for (std::size_t p = 0; p < P; ++p) sum += std::min<std::size_t>(counts[p * stride], each);
      return sum <= room;
    };
    std::size_t least = 0, most = k;  // the greatest that fits
    while (least < most) {
      auto const middle = (least + most + 1) / 2;
      if (fits(middle))
        least = middle;
      else
        most = middle - 1;
    }
    return least;
  }

  /// Of all ranks' entries the k largest, as a sum over the whole tensor; what this rank sent and is not among them
  /// returns to its memory.
  template <class Exec>
  std::size_t keep_global(step<Exec> const& ctx, letter<Exec>& l, std::size_t i, std::span<sum_stream const> kept,
                          std::span<index_t const> starts, std::byte* out) const {
    auto const& s = l.sections[i];
    auto const own = letter<Exec>::context_of(ctx, s);
    auto const k = s.size / 8;
    auto const room = most_entries(ctx, s, kept);
    auto const index = ctx.template scratch<index_t>(room);
    auto const value = ctx.scratch(room);
    std::size_t passed = 0;
    for (std::size_t p = 0; p < kept.size(); ++p)
      passed += entries_of(kept[p], starts[p], index.data() + passed, value.data() + passed);
    auto const count = largest(ctx, index.data(), value.data(), passed, k);
    if (auto* const memory = state_of_section(ctx, s)) {
      std::uint32_t least = count > 0 ? 0x7f800000u : 0;
      for (std::size_t j = 0; j < count; ++j) least = std::min(least, kernel::magnitude(value(j)));
      auto const share = k > 0 ? static_cast<float>(passed) / static_cast<float>(k) : 0.f;
      memory->tentative(0) = passed >= k               ? std::bit_cast<float>(least)
                             : due(ctx.number, period) ? 0.f  // the sum has fewer entries than k: let all pass
                                                       : memory->agreed(0) * (0.5f + 0.5f * share);
    }
    s.who->reclaim(own, {index.data(), count});
    return sum_stream::write({index.data(), value.data(), count}, 0, s.who->length(own), out);
  }

  template <class Exec>
  static std::size_t largest(step<Exec> const& ctx, index_t* index, float* value, std::size_t count, std::size_t k) {
    if (k == 0) return 0;
    return kernel::keep_largest(index, value, count, k,
                                ctx.template scratch<std::uint32_t>(kernel::kth_words_serial).data());
  }
};

static_assert(explain_exchange<ok_top_k>());
GRADPRESS_EXCHANGE_ONCE(ok_top_k);

}  // namespace gradpress
