// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: each rank reduces one chunk of every tensor in float, encodes the mean once more, and tells everybody.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/chunk_reduce.hpp>

namespace gradpress {

/// Compressed scatter-reduce, then all-gather.
///
/// - Accepts    dense messages whose codes need no agreement, additive or not.
/// - Network    (P-1)/P of the message out, the same back, and 1/P of it to everybody: 2 (P-1)/P as a ring all-reduce,
///              whatever the codes are; an all-gather would bring P - 1 messages to each rank.
/// - Rounding   two encodings a value, independent of P. The owner of a chunk uses its own decoded result like everyone
///              else (or replicas would drift), and its memory takes P times what the second encoding lost.
/// - Sent       bytes count the P - 1 blocks that leave this rank and its reduced block.
/// - Source     the two-stage form of 1-bit Adam and CGX; Markov et al., CGX, Middleware 2022, section 4. Differs: one
///              memory serves both encodings.
struct scatter_reduce {
  using family = family::exchange;
  static constexpr std::string_view name = "scatter_reduce";
  static constexpr bool chunked = true;

  static constexpr bool accepts(message_kind k) {
    return k.dense && !k.agreed && k.fixed_size && k.combines != combination::max;
  }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "scatter_reduce: cuts dense messages into chunks; use it without a selector, with a quantizer "
                  "that needs no agreement, and with a projector that is linear.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const P = static_cast<std::size_t>(to.size());
    int const r = to.rank();
    auto const size = [&](auto const& s, int p) { return s.who->chunk_bytes(ctx, p); };
    auto const all =
        detail::meet_in_chunks(ctx, to, l, size, [&](auto const& s, auto const& own, auto const& messages, auto out) {
          auto const mean = own.scratch(s.who->chunk_of(own, r).second);
          s.who->mean_of(own, messages, mean);
          s.who->recode(own, r, mean, out);
        });
    l.form = arrival_form::chunks;
    l.arrived.assign(l.sections.size() * P, {});
    for (std::size_t i = 0; i < l.sections.size(); ++i) l.sections[i].first = i * P, l.sections[i].count = P;
    detail::for_each_chunk(l, to.size(), all, size, [&](std::size_t i, int p, bytes<Exec> m) {
      l.arrived[i * P + static_cast<std::size_t>(p)] = m;
    });
  }
};

static_assert(explain_exchange<scatter_reduce>());
GRADPRESS_EXCHANGE_ONCE(scatter_reduce);

}  // namespace gradpress
