// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the exact sum of sparse messages; each rank adds one part of the indices, and the parts are gathered.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/split_reduce.hpp>

namespace gradpress {

/// Sparse all-reduce by split and gather; exact, so nothing is dropped and no memory is asked.
///
/// - Accepts   sparse floats, of fixed size or not: a selector with its own support and no quantizer.
/// - Network   each rank sends its entries once, (P-1)/P of them on average, and receives the sum, (P-1)/P of the union,
///             at most n floats. 2 P + log2 P latencies or so: all-to-all of sizes, of parts, gather of sizes, of sums.
/// - Order     values are added in rank order, 0 + first + second + ...: the update has the bits of all_gather's.
/// - Parts     ranges of equal length. Where the large entries lie close together, one rank adds and sends most of them.
/// - Dense     a part of the sum travels dense where its addends together have half as many entries as it has indices.
/// - Source    C. Renggli et al., SparCML, SC 2019, SSAR_Split_allgather. Differs: addition in rank order and not in order
///             of arrival, so that runs repeat; tensors fused.
struct split_all_gather {
  using family = family::exchange;
  static constexpr std::string_view name = "split_all_gather";

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "split_all_gather: adds sparse floats; use a selector with its own support, such as top_k, and "
                  "neither a quantizer nor an index code.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const P = static_cast<std::size_t>(to.size());
    auto const pieces = detail::scatter_even_parts(ctx, to, l);
    auto const most = detail::most_bytes(ctx, l, P, P);
    auto const out = l.outbox(most);
    auto const streams = ctx.template scratch<kernel::stream>(P);
    auto const next = ctx.template scratch<std::size_t>(P);
    std::size_t size = sizeof(letter_header);
    for (std::size_t i = 0; i < l.sections.size(); ++i) {
      std::span<sum_stream const> const all(pieces.data() + i * P, P);
      size += sum_stream::write_sum(all, all[0].length, streams.data(), next.data(), out.data() + size);
    }
    detail::expect_parts(l, P);
    detail::gather_sums(
        ctx, to, l, part(out, 0, size), most,
        [&](std::size_t i, std::size_t p) { return slice_of(detail::length_of(ctx, l, i), p, P).second; },
        [&](std::size_t p, std::size_t i, sum_stream const& s) {
          l.arrived[i * P + p] = in_bytes<Exec>(s.data(), s.size());
        });
  }
};

static_assert(explain_exchange<split_all_gather>());
GRADPRESS_EXCHANGE_ONCE(split_all_gather);

}  // namespace gradpress
