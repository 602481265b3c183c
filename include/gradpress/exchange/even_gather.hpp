// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A gather of letters of very different lengths in which no rank sends much more than another.

#include <gradpress/core/letter.hpp>
#include <gradpress/core/transport.hpp>
#include <gradpress/encode/sum_stream.hpp>

#include <algorithm>
#include <numeric>

namespace gradpress::detail {

/// A gather lasts as long as its longest block takes. From this many times the mean on, blocks are evened out first.
inline constexpr std::size_t uneven = 2;

/// Where piece p of `size` bytes starts and its length, if they are cut evenly into `pieces`; multiples of 4 bytes.
[[nodiscard]] constexpr std::pair<std::size_t, std::size_t> even_piece(std::size_t size, std::size_t p,
                                                                       std::size_t pieces) noexcept {
  auto const [from, length] = slice_of(size / 4, p, pieces);
  return {4 * from, 4 * length};
}

/// Gathers `mine` from all ranks, l.sizes[p] bytes from rank p, multiples of 4 that all ranks know, into `all`, one
/// behind the other. Where the longest is more than `uneven` times the mean, what stands in `all` is first cut evenly and
/// each rank gets the piece that it then contributes. `room` holds the longest piece.
///
/// - Sent      `mine`; or what of it is others' piece, and then a piece.
/// - Received  all other ranks' bytes; or these and what of this rank's piece is not its own, a P-th of all at most.
template <class Exec>
void gather_evenly(transport& to, letter<Exec>& l, bytes<Exec> mine, bytes<Exec> room, bytes<Exec> all) {
  auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank());
  l.sizes.resize(3 * P);
  auto const sizes = std::span(l.sizes).first(P);
  auto const total = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
  if (*std::max_element(sizes.begin(), sizes.end()) * P <= uneven * total) {
    to.all_gather_v({mine.data(), sizes[r]}, sizes, {all.data(), total});
    l.sent += sizes[r];
    ++l.messages;
    return;
  }
  auto const leave = std::span(l.sizes).subspan(P, P), arrive = std::span(l.sizes).subspan(2 * P, P);
  auto const shared = [&](std::size_t start, std::size_t size, std::size_t p) {
    auto const [from, length] = even_piece(total, p, P);
    auto const first = std::max(start, from), end = std::min(start + size, from + length);
    return end > first ? end - first : 0;
  };
  std::size_t own_start = 0;
  for (std::size_t p = 0; p < r; ++p) own_start += sizes[p];
  for (std::size_t p = 0, start = 0; p < P; start += sizes[p++]) {
    leave[p] = shared(own_start, sizes[r], p);
    arrive[p] = shared(start, sizes[p], r);
  }
  auto const piece = even_piece(total, r, P).second;
  to.all_to_all_v({mine.data(), sizes[r]}, leave, {room.data(), piece}, arrive);
  l.sent += sizes[r] - leave[r] + piece;
  l.messages += 2;
  for (std::size_t p = 0; p < P; ++p) arrive[p] = even_piece(total, p, P).second;
  to.all_gather_v({room.data(), piece}, arrive, {all.data(), total});
}

}  // namespace gradpress::detail
