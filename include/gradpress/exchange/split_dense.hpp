// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the sum of sparse messages that fill up; each rank adds one part of the indices into a dense block, rounds
/// it if wished, and the blocks are gathered.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/split_reduce.hpp>
#include <gradpress/kernel/dense.hpp>

#include <limits>

namespace gradpress {

/// The last stage of split_dense that rounds nothing. Its codes are the floats themselves.
struct unrounded {
  using family = family::quantizer;
  using adds_as = float;
  static constexpr std::string_view name = "none";

  [[nodiscard]] static constexpr std::size_t code_bytes(std::size_t m) noexcept { return 4 * m; }
  template <class Exec>
  void encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    kernel::copy(ctx.exec, x.data(), x.extent(0), as<float>(codes).data());
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    kernel::copy(ctx.exec, as<float const>(codes).data(), x.extent(0), x.data());
  }
};

/// Sparse in, dense out: for unions so full that indices no longer pay, and for a last stage in few bits.
///
/// - Accepts   sparse floats, of fixed size or not: a selector with its own support and no quantizer.
/// - Network   (P-1)/P of this rank's entries out, then (P-1)/P of n codes in, whatever the union is. `last` says which
///             codes: 4 n bytes as floats, 2 n with bf16, n with 8 and n/2 with 4 bits of stochastic_int.
/// - Order     values are added in rank order, 0 + first + second + ....
/// - Rounding  `last` rounds the sum once, for all ranks alike: the owner of a part uses what everyone decodes, and its
///             memory takes what was lost. Without a memory it is lost; unbiased if the quantizer is.
/// - Source    C. Renggli et al., SparCML, SC 2019, DSAR_Split_allgather, with its quantised second stage. Differs: the
///             rounding is remembered, addition in rank order, tensors fused.
template <class Last = unrounded>
struct split_dense {
  Last last{};  ///< any quantizer that needs no agreement

  using family = family::exchange;
  static constexpr std::string_view name = "split_dense";
  // Its type written out: clang 19 cannot deduce it of a class template in a precompiled header.
  static constexpr std::tuple<knob<Last, split_dense>> knobs = {knob<Last, split_dense>{"last", &split_dense::last}};
  static constexpr bool exact = std::same_as<Last, unrounded>;
  static_assert(quantizer<Last> && !agreeing<Last>,
                "split_dense: 'last' must be a quantizer that needs no agreement, such as bf16 or stochastic_int.");

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "split_dense: adds sparse floats; use a selector with its own support, such as top_k, and neither a "
                  "quantizer nor an index code; it rounds by its own 'last'.");
    return accepts(Kind);
  }
  void check() const {
    if constexpr (requires { last.check(); }) last.check();
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank());
    auto const pieces = detail::scatter_even_parts(ctx, to, l);
    l.sizes.assign(P, sizeof(letter_header));
    std::size_t total = 0;
    for (std::size_t p = 0; p < P; total += l.sizes[p++])
      for (auto const& s : l.sections) l.sizes[p] += section_bytes(part_of(ctx, l, s, p, P).second);
    auto const size = l.sizes[r];
    auto const out = l.outbox(size);
    std::size_t at = sizeof(letter_header);
    for (std::size_t i = 0; i < l.sections.size(); ++i) {
      auto const [from, length] = part_of(ctx, l, l.sections[i], r, P);
      reduce(ctx, l.sections[i], {pieces.data() + i * P, P}, from, length, part(out, at, section_bytes(length)));
      at += section_bytes(length);
    }
    letter<Exec>::seal(ctx, part(out, 0, size));
    auto const all = l.inbox(total);
    to.all_gather_v({out.data(), size}, l.sizes, {all.data(), total});
    l.sent += size;
    ++l.messages;
    deliver(ctx, l, P, all);
  }

 private:
  /// [u32 0xffffffff, or 0 if the sum overflowed][codes of one part, padded to 4].
  [[nodiscard]] std::size_t section_bytes(std::size_t length) const { return 4 + padded(last.code_bytes(length)); }
  template <class Exec>
  static std::pair<std::size_t, std::size_t> part_of(step<Exec> const& ctx, letter<Exec> const& l,
                                                     typename letter<Exec>::section const& s, std::size_t p,
                                                     std::size_t P) {
    return slice_of(s.who->length(l.context_of(ctx, s)), p, P);
  }

  /// The sum of this rank's part, in codes, whose loss goes into this rank's memory.
  template <class Exec>
  void reduce(step<Exec> const& ctx, typename letter<Exec>::section const& s, std::span<sum_stream const> pieces,
              std::size_t from, std::size_t length, bytes<Exec> out) const {
    auto const codes = part(out, 4, last.code_bytes(length));
    std::memcpy(out.data(), &sum_stream::dense_mark, 4);
    if constexpr (exact) {
      sum_stream::add_all(pieces, length, as<float>(codes).data());
    } else {
      auto own = letter<Exec>::context_of(ctx, s);
      own.part = ctx.world + ctx.rank;  // random numbers that nothing else has used
      clear(out.data() + 4 + codes.extent(0), out.extent(0) - 4 - codes.extent(0));
      auto const sum = ctx.scratch(length);
      sum_stream::add_all(pieces, length, sum.data());
      auto* const chunks = ctx.template scratch<unsigned char>(kernel::dense_chunks(length)).data();
      if (!kernel::all_finite(ctx.exec, sum.data(), length, chunks)) return clear(out.data(), out.extent(0));
      last.encode(own, in<Exec>(sum), codes);
      auto const back = ctx.scratch(length);
      last.decode(own, in_bytes<Exec>(codes), back);
      kernel::accumulate(ctx.exec, back.data(), true, sum.data(), length);
      s.who->remember(own, from, in<Exec>(sum));
    }
  }

  /// Every part as a dense sum: where it lies if it was not rounded, else decoded.
  template <class Exec>
  void deliver(step<Exec> const& ctx, letter<Exec>& l, std::size_t P, bytes<Exec> all) const {
    detail::expect_parts(l, P);
    std::size_t floats = 0, at = 0;
    for (auto const& s : l.sections) floats += 4 * P + 4 * s.who->length(l.context_of(ctx, s));
    auto const room = l.outbox(exact ? 0 : floats);
    for (std::size_t p = 0, block = 0; p < P; block += l.sizes[p++]) {
      auto const m = part(all, block, l.sizes[p]);
      if (!l.opens(ctx, m, static_cast<int>(p))) return;
      std::size_t from = sizeof(letter_header);
      for (std::size_t i = 0; i < l.sections.size(); ++i) {
        auto const length = part_of(ctx, l, l.sections[i], p, P).second;
        auto const section = part(m, from, section_bytes(length));
        std::uint32_t mark = 0;
        std::memcpy(&mark, section.data(), 4);
        if (exact) {
          l.arrived[i * P + p] = section;
        } else {
          auto const x = part(room, at, 4 + 4 * length);
          std::memcpy(x.data(), &sum_stream::dense_mark, 4);
          last.decode(l.context_of(ctx, l.sections[i]), in_bytes<Exec>(part(section, 4, last.code_bytes(length))),
                      as<float>(part(x, 4, 4 * length)));
          if (mark != sum_stream::dense_mark && length > 0)
            as<float>(x)(1) = std::numeric_limits<float>::infinity();  // for everyone's check to find
          l.arrived[i * P + p] = x;
          at += x.extent(0);
        }
        from += section.extent(0);
      }
    }
  }
};
template <class Last>
split_dense(Last) -> split_dense<Last>;
split_dense()->split_dense<>;

static_assert(explain_exchange<split_dense<>>());
GRADPRESS_EXCHANGE_ONCE(split_dense<>);

}  // namespace gradpress
