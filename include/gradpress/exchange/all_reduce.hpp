// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: messages add up inside the transport.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/core/compile_once.hpp>

namespace gradpress {

/// One sum (or maximum) over all ranks.
///
/// - Accepts    sums and maxima of fixed size.
/// - Network    2 (P-1)/P of the message each way with a ring; the transport's own algorithm decides.
/// - Replicas   equal bit for bit if the transport's sum is the same on all ranks: ours are, and so are the usual ones
///              of MPI.
/// - Precision  bfloat16 and float16 sums round again inside the transport, and no memory owns that; with a memory
///              `by_kind` takes scatter_reduce (or all_gather) for them instead.
struct all_reduce {
  using family = family::exchange;
  static constexpr std::string_view name = "all_reduce";

  static constexpr bool accepts(message_kind k) {
    return (k.combines == combination::sum || k.combines == combination::max) && k.fixed_size;
  }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "all_reduce: these messages do not add up; use a shared support and additive codes, or all_gather.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const;
};

template <class Exec>
void all_reduce::run(step<Exec> const&, transport& to, letter<Exec>& l) const {
  auto const m = l.mine();
  auto const n = m.extent(0) / size_of(l.kind.element);
  if (l.kind.combines == combination::max)
    to.all_reduce_max(reinterpret_cast<float*>(m.data()), n);
  else
    to.all_reduce_sum(l.kind.element, m.data(), n);
  l.sent += m.extent(0);
  ++l.messages;
  l.bases.assign(1, m.data());
  l.deliver(arrival_form::sum, l.bases);
}

static_assert(explain_exchange<all_reduce>());
GRADPRESS_EXCHANGE_ONCE(all_reduce);

}  // namespace gradpress
