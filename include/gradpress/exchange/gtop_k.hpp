// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: global top-k by a tree of merges.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/core/compile_once.hpp>

namespace gradpress {

/// Who remembers what a merge drops.
enum class put_back {
  owner_keeps,  ///< the rank that merges: mass is conserved exactly
  published     ///< each rank, for what it sent and does not find in the result, as in the papers: loses mass
};
constexpr std::array<std::string_view, 2> names_of(put_back) { return {"owner_keeps", "published"}; }

/// gTop-k: top-k streams are merged pairwise, keeping k, up a binomial tree; rank 0's result goes back down.
///
/// - Accepts   sorted float streams of fixed size: a selector with its own support, such as top_k, and no quantizer.
/// - Network   ceil(log2 P) messages of k entries each way on the longest path, against P - 1 of a gather.
/// - Result    at most k entries a tensor. Depends on rank order: ranks keep their numbers from run to run.
/// - Any P     the tree is cut, not padded: rank r sends to r - d where r mod 2d = d.
/// - Memory    `published` loses an entry that one merge drops and another subtree brings back under the same index
///             (P = 4, k = 1, signals (2,0,0), (0,3,0), (2,0,0), (2.5,0,0): 2.0 vanishes). `owner_keeps` has no such
///             case.
/// - Source    S. Shi et al., A Distributed Synchronous SGD Algorithm with Global Top-k Sparsification for Low
///             Bandwidth Networks, ICDCS 2019, algorithms 3 and 4. Differs: any P, and the default put-back.
struct gtop_k {
  put_back dropped = put_back::owner_keeps;

  using family = family::exchange;
  static constexpr std::string_view name = "gtop_k";
  static constexpr auto knobs = std::tuple{knob{"dropped", &gtop_k::dropped}};

  static constexpr bool accepts(message_kind k) { return k.combines == combination::merge && k.fixed_size; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "gtop_k: merges sparse float streams of fixed size; use a selector with its own support, such as "
                  "top_k, and neither a quantizer nor an index code.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    int const P = to.size(), r = to.rank();
    auto const mine = l.mine();
    auto const theirs = l.inbox(mine.extent(0));
    auto const hop = [&](int target, int source) {
      if (target >= 0) {
        letter<Exec>::seal(ctx, mine);
        l.sent += mine.extent(0);
        ++l.messages;
      }
      to.send_recv(target, {mine.data(), mine.extent(0)}, source, {theirs.data(), theirs.extent(0)});
    };
    for (int d = 1; d < P; d *= 2) {
      int const target = r % (2 * d) == d ? r - d : -1, source = r % (2 * d) == 0 && r + d < P ? r + d : -1;
      hop(target, source);
      if (source >= 0 && l.opens(ctx, theirs, source)) merge(ctx, l, theirs, source);
    }
    int top = 1;
    while (top < P) top *= 2;
    for (int d = top / 2; d >= 1; d /= 2) {
      int const target = r % (2 * d) == 0 && r + d < P ? r + d : -1, source = r % (2 * d) == d ? r - d : -1;
      hop(target, source);
      if (source >= 0 && l.opens(ctx, theirs, source) && theirs.extent(0) > 0)
        std::memcpy(mine.data(), theirs.data(), theirs.extent(0));
    }
    if (dropped == put_back::published && l.complaint.empty())
      for (auto const& s : l.sections)  // k indices, k floats
        s.who->reclaim(l.context_of(ctx, s), {reinterpret_cast<index_t const*>(mine.data() + s.at), s.size / 8});
    l.bases.assign(1, mine.data());
    l.deliver(arrival_form::sum, l.bases);
  }

 private:
  template <class Exec>
  void merge(step<Exec> const& ctx, letter<Exec>& l, bytes<Exec> theirs, int source) const {
    for (auto const& s : l.sections) {
      try {
        s.who->merge(l.context_of(ctx, s), part(l.mine(), s.at, s.size), part(theirs, s.at, s.size),
                     dropped == put_back::owner_keeps);
      } catch (payload_error const& e) {
        l.complain("the message from rank " + std::to_string(source) + ' ' + e.what());
      }
      ctx.memory->release();
    }
  }
};

static_assert(explain_exchange<gtop_k>());
GRADPRESS_EXCHANGE_ONCE(gtop_k);

}  // namespace gradpress
