// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: each rank reduces one chunk of every tensor in float, encodes the mean once more, and tells everybody.

#include <gradpress/concepts/exchange.hpp>

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
    int const P = to.size(), r = to.rank();
    constexpr auto header = sizeof(letter_header);
    std::size_t block = header;  // the first chunk of a tensor is its largest
    for (auto const& s : l.sections) block += s.who->chunk_bytes(ctx, 0);
    auto const ranks = static_cast<std::size_t>(P);
    auto const out = l.outbox(ranks * block), in = l.inbox(2 * ranks * block);
    pack(ctx, l, P, block, out);
    to.all_to_all({out.data(), ranks * block}, {in.data(), ranks * block});
    auto const mine = part(out, 0, block), all = part(in, ranks * block, ranks * block);
    reduce(ctx, l, r, P, block, part(in, 0, ranks * block), mine);
    letter<Exec>::seal(ctx, mine);
    to.all_gather({mine.data(), block}, {all.data(), all.extent(0)});
    l.sent += ranks * block;
    l.messages += 2;
    deliver(ctx, l, P, block, all);
  }

 private:
  template <class Exec>
  static void pack(step<Exec> const& ctx, letter<Exec>& l, int P, std::size_t block, bytes<Exec> out) {
    auto const mine = l.mine();
    l.sizes.clear();
    for (auto const& s : l.sections) l.sizes.push_back(s.at);
    for (int p = 0; p < P; ++p) {
      auto const to = part(out, static_cast<std::size_t>(p) * block, block);
      std::size_t at = sizeof(letter_header);
      for (std::size_t s = 0; s < l.sections.size(); ++s) {
        auto const size = l.sections[s].who->chunk_bytes(ctx, p);
        if (size > 0) std::memcpy(to.data() + at, mine.data() + l.sizes[s], size);
        at += size;
        l.sizes[s] += size;
      }
      clear(to.data() + at, block - at);
      letter<Exec>::seal(ctx, to);
    }
  }

  template <class Exec>
  static void reduce(step<Exec> const& ctx, letter<Exec>& l, int r, int P, std::size_t block, bytes<Exec> in,
                     bytes<Exec> out) {
    clear(out.data(), block);  // a chunk that cannot be reduced travels as zeros, and the step fails
    for (int p = 0; p < P; ++p)
      if (!l.opens(ctx, part(in, static_cast<std::size_t>(p) * block, block), p)) return;
    std::size_t at = sizeof(letter_header);
    for (auto const& s : l.sections) {
      auto const size = s.who->chunk_bytes(ctx, r);
      l.arrived.clear();
      for (int p = 0; p < P; ++p) l.arrived.push_back(part(in, static_cast<std::size_t>(p) * block + at, size));
      try {
        s.who->recode(l.context_of(ctx, s), r, l.arrived, part(out, at, size));
      } catch (error const& e) {
        bool const overflow = dynamic_cast<non_finite_error const*>(&e) != nullptr;
        l.complain(std::string("a chunk of a tensor: ") + e.what(), overflow);
        clear(out.data() + at, size);
      }
      ctx.memory->release();
      at += size;
    }
  }

  template <class Exec>
  static void deliver(step<Exec> const& ctx, letter<Exec>& l, int P, std::size_t block, bytes<Exec> all) {
    l.form = arrival_form::chunks;
    l.arrived.clear();
    for (int p = 0; p < P; ++p)
      if (!l.opens(ctx, part(all, static_cast<std::size_t>(p) * block, block), p)) return;
    l.sizes.assign(static_cast<std::size_t>(P), sizeof(letter_header));
    for (auto& s : l.sections) {
      s.first = l.arrived.size();
      s.count = static_cast<std::size_t>(P);
      for (int p = 0; p < P; ++p) {
        auto& at = l.sizes[static_cast<std::size_t>(p)];
        auto const size = s.who->chunk_bytes(ctx, p);
        l.arrived.push_back(part(all, static_cast<std::size_t>(p) * block + at, size));
        at += size;
      }
    }
  }
};

static_assert(explain_exchange<scatter_reduce>());

}  // namespace gradpress
