// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the way that should take the least time here, from what codec and link were measured to cost.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/link.hpp>
#include <gradpress/exchange/by_kind.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>

#include <array>

namespace gradpress {

/// Chooses among the exchanges that give the exact sum, and sends tensors dense where compression does not pay.
///
/// - Accepts   messages that are gathered otherwise. Where they are sparse floats it has four ways: all_gather,
///             recursive_doubling, split_all_gather, split_dense; with codes it gathers. Messages that add up never come
///             here: `compress_with` gives them what `by_kind` would.
/// - Choice    made once, after three steps, and again when a knob of the tensor changes: by the link's measured cost, the
///             codec's measured time (of the slowest rank), and the union that independent supports would have. All ranks
///             choose alike, from numbers that they share. Below 65536 elements in all nothing is measured: all_gather.
/// - Dense     a tensor that would be faster dense travels dense: the whole signal, so that the memory is empty then.
/// - Result    the exact sum whichever way; all_gather, split_all_gather and split_dense add in rank order, with the same
///             bits, recursive_doubling in a tree. So the last bits may depend on the machine: name an exchange, or
///             `reducer_options::link`, where runs must repeat.
/// - Network   that of the way chosen; measuring costs some fifty small collectives, once. `reducer::choice` says what
///             was chosen and why.
/// - Source    the choice between the three of C. Renggli et al., SparCML, SC 2019. Differs: measured costs, and "none
///             of them" is an answer.
struct automatic {
  using family = family::exchange;
  static constexpr std::string_view name = "automatic";
  /// The reducer weighs this exchange's ways, and sending dense, against one another.
  static constexpr bool weighs = true;
  enum way { gather, doubling, split, dense_parts };
  static constexpr std::array<std::string_view, 4> ways = {all_gather::name, recursive_doubling::name,
                                                           split_all_gather::name, split_dense<>::name};

  static constexpr bool accepts(message_kind k) {
    return k.combines == combination::merge || k.combines == combination::nothing;
  }

  /// Seconds that a way should take: latencies, bytes on the link, and 4 ns for every entry that is added or scattered.
  [[nodiscard]] static double forecast(way w, link_costs const& link, message_load const& m) noexcept {
    auto const P = m.ranks, others = P - 1;
    if (others <= 0) return 0;
    constexpr double per_entry = 4e-9, per_element = 5e-10;
    double const hops = std::ceil(std::log2(P)), fold = std::exp2(hops) == P ? 0 : 2;
    // One message between two ranks: a gather is about log2 P of them after one another, P - 1 times the bytes.
    double const latency = link.gather.alpha / hops, byte = link.gather.beta / others;
    auto const travels = [&](double entries) { return std::min(8 * entries, 4 * m.coefficients); };
    auto const all = expected_union(m.coefficients, m.entries, P);
    double const scatter = 2 * others * latency + byte * m.bytes * others / P + per_entry * m.entries;
    switch (w) {
      case gather:
        return link.gather.seconds(m.bytes) + per_entry * P * m.entries;
      case doubling: {
        double t = 2 * latency * (hops + fold) + per_entry * all;
        for (double have = 1; have < P; have *= 2) {
          auto const sum = expected_union(m.coefficients, m.entries, have);
          t += byte * travels(sum) + per_entry * 2 * sum;
        }
        return fold > 0 ? t + byte * (m.bytes + travels(all)) : t;
      }
      case split:
        return scatter + link.gather.alpha + link.gather.seconds(travels(all) / P) + per_entry * all;
      case dense_parts:
        return scatter + link.gather.seconds(4 * m.coefficients / P) + per_element * m.coefficients;
    }
    return 0;
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    switch (l.kind.combines == combination::merge ? l.way : gather) {
      case doubling:
        return recursive_doubling{}.run(ctx, to, l);
      case split:
        return split_all_gather{}.run(ctx, to, l);
      case dense_parts:
        return split_dense<>{}.run(ctx, to, l);
      default:
        return all_gather{}.run(ctx, to, l);
    }
  }
};

static_assert(explain_exchange<automatic>());

namespace detail {
template <message_kind Kind, bool Remembers>
struct resolve<automatic, Kind, Remembers> {
  using type = std::conditional_t<automatic::accepts(Kind), automatic, typename resolve_by_kind<Kind, Remembers>::type>;
};
}  // namespace detail
GRADPRESS_EXCHANGE_ONCE(automatic);

}  // namespace gradpress
