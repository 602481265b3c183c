// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The first half of the exchanges that split: every tensor is cut into one part a rank, and each rank receives all
/// ranks' entries of its own parts.

#include <gradpress/exchange/sum_letter.hpp>

namespace gradpress::detail {

/// Where the parts of all tensors lie, if all parts of a tensor are equally long.
template <class Exec>
auto even_parts(step<Exec> const& ctx, letter<Exec> const& l, std::size_t P) {
  return [&ctx, &l, P](std::size_t i, std::size_t p) { return slice_of(length_of(ctx, l, i), p, P); };
}

/// Sends part p of every tensor to rank p; `parts(i, p)` is where that of section i starts, and its length, in no step
/// more than `longest(i)`. Returns this rank's parts: P sums for each section, in rank order, which lie in the inbox; a
/// message that is not what an honest rank sends counts as empty, with a complaint.
///
/// - Sent  16 P bytes of sizes, and P - 1 letters.
template <class Exec, class Parts, class Longest>
view<Exec, sum_stream> scatter_parts(step<Exec> const& ctx, transport& to, letter<Exec>& l, Parts const& parts,
                                     Longest const& longest) {
  auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank());
  constexpr auto header = sizeof(letter_header);
  std::size_t room = P * header, most = header;
  for (std::size_t i = 0; i < l.sections.size(); ++i) {
    auto const k = most_entries(ctx, l, l.sections[i]), length = longest(i);
    room += 4 * P + std::min(8 * k, 4 * P * length);  // a part is no longer dense than as entries
    most += sum_stream::bytes_of(std::min(k, length), length);
  }
  auto const out = l.outbox(room);
  auto const mine = ctx.template scratch<announcement>(P), theirs = ctx.template scratch<announcement>(P);
  auto const own = ctx.template scratch<kernel::stream>(l.sections.size());
  for (std::size_t i = 0; i < l.sections.size(); ++i) own(i) = own_stream(ctx, l, l.sections[i]);
  l.sizes.assign(2 * P, 0);
  auto const leave = std::span(l.sizes).first(P), arrive = std::span(l.sizes).subspan(P);
  std::size_t at = 0;
  for (std::size_t p = 0; p < P; ++p) {
    std::size_t end = at + header;
    for (std::size_t i = 0; i < l.sections.size(); ++i) {
      auto const [from, length] = parts(i, p);
      end += sum_stream::write(own(i), from, length, out.data() + end);
    }
    leave[p] = end - at;
    letter<Exec>::seal(ctx, part(out, at, leave[p]));
    mine(p) = announcement::of(leave[p]);
    at = end;
  }
  to.all_to_all(std::as_bytes(std::span(mine.data(), P)), std::as_writable_bytes(std::span(theirs.data(), P)));
  std::size_t total = 0;
  for (std::size_t p = 0; p < P; ++p) total += arrive[p] = theirs(p).opened(most, p);
  auto const in = room_for_all(ctx, l, P, total, [&](std::size_t i) { return P * longest(i); });
  to.all_to_all_v({out.data(), at}, leave, {in.data(), total}, arrive);
  l.sent += P * sizeof(announcement) + at - leave[r];
  l.messages += 2;

  auto const pieces = ctx.template scratch<sum_stream>(l.sections.size() * P);
  at = 0;
  for (std::size_t p = 0; p < P; at += arrive[p++]) {
    auto const length = [&](std::size_t i) { return parts(i, r).second; };
    bool const good = read_sums(ctx, l, part(in, at, arrive[p]), p, length,
                                [&](std::size_t i, sum_stream const& s) { pieces(i * P + p) = s; });
    for (std::size_t i = 0; i < l.sections.size() && !good; ++i) pieces(i * P + p) = {.length = length(i)};
  }
  return pieces;
}

/// The same, by even parts.
template <class Exec>
view<Exec, sum_stream> scatter_even_parts(step<Exec> const& ctx, transport& to, letter<Exec>& l) {
  auto const P = static_cast<std::size_t>(to.size());
  auto const parts = even_parts(ctx, l, P);
  return scatter_parts(ctx, to, l, parts, [&](std::size_t i) { return parts(i, 0).second; });  // the first is longest
}

/// Makes room in `arrived` for one message from each of P ranks, for each section.
template <class Exec>
void expect_parts(letter<Exec>& l, std::size_t P) {
  l.form = arrival_form::sums;
  l.arrived.assign(l.sections.size() * P, {});
  for (std::size_t i = 0; i < l.sections.size(); ++i) l.sections[i].first = i * P, l.sections[i].count = P;
}

}  // namespace gradpress::detail
