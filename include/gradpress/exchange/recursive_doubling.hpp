// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the exact sum of sparse messages, by pairs that swap what they have summed so far.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/sum_letter.hpp>

namespace gradpress {

/// Sparse all-reduce by recursive doubling; exact, so nothing is dropped and no memory is asked.
///
/// - Accepts   sparse floats, of fixed size or not: a selector with its own support and no quantizer.
/// - Network   log2 P hops of the growing sum: after hop j of at most 2^j k entries, fewer where supports meet, never
///             more than the dense tensor. So between k log2 P entries (equal supports) and (P - 1) k (disjoint ones).
///             Each hop is two messages: 16 bytes that announce a size, and the sum.
/// - Any P     with 2^m the largest power of two that is at most P, of the first 2 (P - 2^m) ranks the even ones hand
///             their message to their odd neighbour, wait, and receive the result: two more hops.
/// - Dense     a sum travels dense from 8 (|A| + |B|) >= 4 n on, judged by that bound and not by the union.
/// - Replicas  equal bit for bit: both partners add the same two sums, and a + b = b + a. The order of addition is a tree
///             that depends on rank numbers alone.
/// - Source    C. Renggli et al., SparCML, SC 2019, SSAR_Recursive_double. Differs: any P in which the fold adds in a
///             fixed order, tensors fused into one message a hop.
struct recursive_doubling {
  using family = family::exchange;
  static constexpr std::string_view name = "recursive_doubling";

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "recursive_doubling: adds sparse floats; use a selector with its own support, such as top_k, and "
                  "neither a quantizer nor an index code.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    int const P = to.size(), r = to.rank();
    auto const most = detail::most_bytes(ctx, l, static_cast<std::size_t>(P), 1);
    auto const rooms = l.outbox(2 * most), inbox = l.inbox(most);
    traveller<Exec> sum{ctx, to, l, most, part(rooms, 0, most), part(rooms, most, most), inbox};
    sum.start();
    int half = 1;
    while (2 * half <= P) half *= 2;
    int const extra = P - half;
    bool const folds = r < 2 * extra, waits = folds && r % 2 == 0;
    if (extra > 0) sum.hop(waits ? r + 1 : -1, folds && !waits ? r - 1 : -1);
    int const id = waits ? -1 : folds ? r / 2 : r - extra;
    for (int d = 1; d < half; d *= 2) {
      int const other = id < 0 ? -1 : id ^ d;
      int const partner = other < 0 ? -1 : other < extra ? 2 * other + 1 : other + extra;
      sum.hop(partner, partner);
    }
    if (extra > 0) sum.hop(folds && !waits ? r - 1 : -1, waits ? r + 1 : -1, false);
    sum.deliver();
  }

 private:
  /// The sum on its way: the room that holds it, and the one that the next hop writes.
  template <class Exec>
  struct traveller {
    step<Exec> const& ctx;
    transport& to;
    letter<Exec>& l;
    std::size_t most;
    bytes<Exec> now, next, inbox;
    std::size_t size = 0;

    void start() {
      size = sizeof(letter_header);
      for (auto const& s : l.sections)
        size += sum_stream::write(detail::own_stream(ctx, l, s), 0, s.who->length(letter<Exec>::context_of(ctx, s)),
                                  now.data() + size);
      letter<Exec>::seal(ctx, part(now, 0, size));
    }

    void hop(int target, int source, bool adds = true) {
      auto const own = detail::announcement::of(size);
      detail::announcement other;
      to.send_recv(target, std::as_bytes(std::span(&own, 1)), source, std::as_writable_bytes(std::span(&other, 1)));
      auto const theirs = source < 0 ? 0 : other.opened(most, static_cast<std::size_t>(source));
      to.send_recv_v(target, {now.data(), target < 0 ? 0 : size}, source, {inbox.data(), theirs});
      if (target >= 0) l.sent += sizeof own + size, l.messages += 2;
      if (source >= 0 && l.complaint.empty()) receive(part(inbox, 0, theirs), static_cast<std::size_t>(source), adds);
    }

    /// After a complaint a rank goes on sending what it has: all ranks will hear of it in the vote.
    void receive(bytes<Exec> m, std::size_t source, bool adds) {
      std::size_t mine = sizeof(letter_header), sum = sizeof(letter_header);
      bool const good = detail::read_sums(
          ctx, l, m, source, [&](std::size_t i) { return detail::length_of(ctx, l, i); },
          [&](std::size_t, sum_stream const& theirs) {
            if (!adds) return;
            auto const ours = sum_stream::read(now.data() + mine, size - mine, theirs.length);
            if (sum + sum_stream::bytes_of(ours.sparse.count + theirs.sparse.count, ours.length) > most)
              throw payload_error("has more entries than all ranks together");
            mine += ours.size();
            sum += sum_stream::write_sum(ours, theirs, next.data() + sum);
          });
      if (!good) return;
      if (!adds) {
        size = m.extent(0);
        std::memcpy(now.data(), m.data(), size);
        return;
      }
      std::swap(now, next);
      size = sum;
      letter<Exec>::seal(ctx, part(now, 0, size));
    }

    void deliver() {
      l.form = arrival_form::sums;
      l.arrived.clear();
      std::size_t at = sizeof(letter_header);
      for (auto& s : l.sections) {
        auto const bytes =
            sum_stream::read(now.data() + at, size - at, s.who->length(letter<Exec>::context_of(ctx, s))).size();
        s.first = l.arrived.size();
        s.count = 1;
        l.arrived.push_back(part(now, at, bytes));
        at += bytes;
      }
    }
  };
};

static_assert(explain_exchange<recursive_doubling>());
GRADPRESS_EXCHANGE_ONCE(recursive_doubling);

}  // namespace gradpress
