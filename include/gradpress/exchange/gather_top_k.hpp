// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: every message reaches every rank, which keeps the k largest entries of the exact sum.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/sparse_sum.hpp>

namespace gradpress {

/// Top-k twice: each rank's k largest are gathered and added, and of the sum the k largest are kept.
///
/// - Accepts   sorted float streams of fixed size: a selector with its own support, such as top_k, and no quantizer.
/// - Network   that of all_gather: P - 1 messages arrive at each rank.
/// - Result    k entries a tensor: the exact top-k of the sum, by (|sum| descending, index ascending). Unlike gtop_k it
///             does not depend on a tree, and nothing is dropped that a later message would have raised.
/// - Order     values are added in rank order, as all_gather adds them.
/// - Memory    what this rank sent under an index that is not kept returns to its memory. A kept entry is the sum of
///             all ranks that sent it, so nothing vanishes.
/// - Source    the naive variant that S. Shi et al. compare gTop-k with: A Distributed Synchronous SGD Algorithm with
///             Global Top-k Sparsification for Low Bandwidth Networks, ICDCS 2019. Differs: fixed ties and order.
struct gather_top_k {
  using family = family::exchange;
  static constexpr std::string_view name = "gather_top_k";

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge && k.fixed_size; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "gather_top_k: adds sparse float streams of fixed size; use a selector with its own support, such as "
                  "top_k, and neither a quantizer nor an index code.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    auto const mine = l.mine();
    auto const P = static_cast<std::size_t>(to.size()), size = mine.extent(0);
    letter<Exec>::seal(ctx, mine);
    auto const all = l.inbox(P * size);
    to.all_gather({mine.data(), size}, {all.data(), P * size});
    l.sent += size;
    ++l.messages;
    bool good = true;
    for (std::size_t p = 0; p < P; ++p) good = l.opens(ctx, part(all, p * size, size), static_cast<int>(p)) && good;
    for (auto const& s : l.sections) {
      good = good && keep_largest(ctx, l, s, P, all);
      ctx.memory->release();
    }
    l.bases.assign(1, mine.data());
    if (good) l.deliver(arrival_form::sum, l.bases);
  }

 private:
  /// Writes the k largest of one tensor's sum where its message was. A section of fixed size is k indices, k floats.
  template <class Exec>
  static bool keep_largest(step<Exec> const& ctx, letter<Exec>& l, typename letter<Exec>::section const& s,
                           std::size_t P, bytes<Exec> all) {
    auto const k = s.size / 8, n = s.who->length(ctx), size = all.extent(0) / P;
    auto const streams = ctx.template scratch<kernel::stream>(P);
    for (std::size_t p = 0; p < P; ++p) {
      auto const from = part(all, p * size + s.at, s.size);
      streams(p) = {as<index_t>(part(from, 0, 4 * k)).data(), as<float>(part(from, 4 * k, 4 * k)).data(), k};
      if (!kernel::valid_indices(streams(p).indices, k, n)) {
        l.complain("the message from rank " + std::to_string(p) + " has indices that do not ascend inside the tensor");
        return false;
      }
    }
    auto const index = ctx.template scratch<index_t>(P * k);
    auto const value = ctx.scratch(P * k);
    auto const m =
        kernel::sum_streams(streams.data(), P, ctx.template scratch<std::size_t>(P).data(), index.data(), value.data());
    kernel::keep_largest(index.data(), value.data(), m, k,
                         ctx.template scratch<std::uint32_t>(kernel::kth_words_serial).data());
    auto const merged = part(l.mine(), s.at, s.size);
    if (k > 0) {
      std::memcpy(merged.data(), index.data(), 4 * k);
      std::memcpy(merged.data() + 4 * k, value.data(), 4 * k);
    }
    s.who->reclaim(l.context_of(ctx, s), {index.data(), k});
    return true;
  }
};

static_assert(explain_exchange<gather_top_k>());
GRADPRESS_EXCHANGE_ONCE(gather_top_k);

}  // namespace gradpress
