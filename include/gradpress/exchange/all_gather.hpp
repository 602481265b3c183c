// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: every message reaches every rank and is decoded there, in rank order.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/core/compile_once.hpp>

namespace gradpress {

namespace detail {

/// A letter of variable size starts with the size of each section.
template <class Exec>
bool deliver_variable(letter<Exec>& l) {
  l.form = arrival_form::each;
  auto const sections = l.sections.size(), P = l.bases.size(), table = l.table_bytes();
  auto const bad = [&](std::size_t p, char const* what) {
    l.complain("the message from rank " + std::to_string(p) + what);
    return false;
  };
  l.arrived.assign(sections * P, {});
  for (std::size_t s = 0; s < sections; ++s) l.sections[s].first = s * P, l.sections[s].count = P;
  for (std::size_t p = 0; p < P; ++p) {
    std::size_t at = l.header_bytes() + table;
    if (at > l.sizes[p]) return bad(p, " is too short for its section table");
    for (std::size_t s = 0; s < sections; ++s) {
      std::uint32_t size = 0;
      std::memcpy(&size, l.bases[p] + l.header_bytes() + 4 * s, 4);
      if (size > l.sizes[p] - at) return bad(p, " has a section that reaches past its end");
      l.arrived[s * P + p] = in_bytes<Exec>(l.bases[p] + at, size);
      at += size;
    }
    if (at != l.sizes[p]) return bad(p, " is longer than its sections");
  }
  return true;
}

/// Delivers one letter from each rank, of l.sizes, that lie end to end, each behind a header. False, with a complaint, if
/// one is not what an honest rank sends.
template <class Exec>
bool deliver_letters(step<Exec> const& ctx, letter<Exec>& l, bytes<Exec> all) {
  l.bases.clear();
  auto const bare = sizeof(letter_header) - (l.header_bytes() > 0 ? sizeof(letter_header) : 0);
  std::size_t at = 0;
  for (std::size_t p = 0; p < l.sizes.size(); at += l.sizes[p++]) {
    if (!l.opens(ctx, part(all, at, l.sizes[p]), static_cast<int>(p))) return false;
    l.bases.push_back(all.data() + at + bare);
  }
  if (!l.kind.fixed_size) return deliver_variable(l);
  l.deliver(arrival_form::each, l.bases);
  return true;
}

GRADPRESS_ONCE(deliver_letters);

}  // namespace detail

/// Accepts every kind.
///
/// - Network    (P-1) messages arrive at each rank: it pays while P times the message is small beside the dense tensor.
///              Messages of variable size cost one more small collective: 8 bytes a rank.
/// - Replicas   equal bit for bit: all ranks decode the same bytes in the same order.
struct all_gather {
  using family = family::exchange;
  static constexpr std::string_view name = "all_gather";

  static constexpr bool accepts(message_kind) { return true; }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const;

 private:
  /// Sums that are gathered instead: no header, fixed size, decoded one by one.
  template <class Exec>
  static void gather_bare(transport& to, letter<Exec>& l);
};

template <class Exec>
void all_gather::run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
  bool const bare = l.header_bytes() == 0;
  if (bare) return gather_bare(to, l);
  auto const mine = l.mine();
  letter<Exec>::seal(ctx, mine);
  auto const P = static_cast<std::size_t>(to.size());
  if (l.kind.fixed_size) {
    auto const all = l.inbox(P * mine.extent(0));
    to.all_gather({mine.data(), mine.extent(0)}, {all.data(), all.extent(0)});
    l.sizes.assign(P, mine.extent(0));
    detail::deliver_letters(ctx, l, all);
  } else {
    l.sizes.assign(P, 0);
    std::size_t const own = mine.extent(0);
    to.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(l.sizes)));
    std::size_t total = 0;
    for (auto const s : l.sizes) total += s;
    auto const all = l.inbox(total);
    to.all_gather_v({mine.data(), mine.extent(0)}, l.sizes, {all.data(), all.extent(0)});
    l.sent += sizeof own;
    ++l.messages;
    detail::deliver_letters(ctx, l, all);
  }
  l.sent += mine.extent(0);
  ++l.messages;
}

template <class Exec>
void all_gather::gather_bare(transport& to, letter<Exec>& l) {
  auto const mine = l.mine();
  auto const P = static_cast<std::size_t>(to.size());
  auto const all = l.inbox(P * mine.extent(0));
  to.all_gather({mine.data(), mine.extent(0)}, {all.data(), all.extent(0)});
  l.sent += mine.extent(0);
  ++l.messages;
  l.bases.clear();
  for (std::size_t p = 0; p < P; ++p) l.bases.push_back(all.data() + p * mine.extent(0));
  l.deliver(arrival_form::each, l.bases);
}

static_assert(explain_exchange<all_gather>());
GRADPRESS_EXCHANGE_ONCE(all_gather);

}  // namespace gradpress
