// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Letters whose sections are sums of several ranks' sparse floats (encode/sum_stream.hpp): what the exact sparse
/// exchanges send. Sections lie one behind the other and say themselves how long they are.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/encode/sum_stream.hpp>

namespace gradpress {

namespace detail {

/// A message's size, sent before it to one who does not know it: 16 bytes.
struct announcement {
  std::uint64_t size = 0, check = 0;

  static announcement of(std::uint64_t size) { return {size, checksum(std::as_bytes(std::span(&size, 1)))}; }
  /// The size, or a `communicator_error`: without it this rank cannot take part any longer. `most` is the largest that
  /// any rank may send.
  [[nodiscard]] std::size_t opened(std::size_t most, std::size_t from) const {
    if (check != of(size).check || size > most)
      throw communicator_error("the size that rank " + std::to_string(from) + " announced was damaged on its way");
    return static_cast<std::size_t>(size);
  }
};

/// The sparse floats of one tensor's section of the letter that a rank starts from; nothing, with a complaint, where a
/// selector broke its law.
template <class Exec>
kernel::stream own_stream(step<Exec> const& ctx, letter<Exec>& l, typename letter<Exec>::section const& s) {
  auto const* m = l.mine().data() + s.at;
  std::size_t k = s.size / 8;
  if (!l.kind.fixed_size) {
    std::uint32_t count = 0;
    std::memcpy(&count, m, 4);
    m += 4;
    k = count;
  }
  kernel::stream const own{reinterpret_cast<index_t const*>(m), reinterpret_cast<float const*>(m + 4 * k), k};
  if (kernel::valid_indices(own.indices, k, s.who->length(letter<Exec>::context_of(ctx, s)))) return own;
  l.complain("the selector kept indices that do not ascend inside the tensor");
  return {own.indices, own.values, 0};
}

/// The most entries that any rank sends of this section: n where its selector bounds no number.
template <class Exec>
std::size_t most_entries(step<Exec> const& ctx, letter<Exec> const& l, typename letter<Exec>::section const& s) {
  return (s.who->capacity(ctx.phase, ctx.world) - (l.kind.fixed_size ? 0 : 4)) / 8;
}

/// The most bytes of a letter of sums over part p of `parts` of every tensor, if each of `ranks` contributes once.
template <class Exec>
std::size_t most_bytes(step<Exec> const& ctx, letter<Exec> const& l, std::size_t ranks, std::size_t parts) {
  std::size_t most = sizeof(letter_header);
  for (auto const& s : l.sections) {
    auto const length =
        slice_of(s.who->length(letter<Exec>::context_of(ctx, s)), 0, parts).second;  // the first part is the longest
    most += sum_stream::bytes_of(std::min(length, ranks * most_entries(ctx, l, s)), length);
  }
  return most;
}

/// Calls f(i, sum) for section i of a letter of sums that `from` sent; `length(i)` is how many coefficients it spans.
/// False, with a complaint, if the letter is not what an honest rank sends.
template <class Exec, class Length, class F>
bool read_sums(step<Exec> const& ctx, letter<Exec>& l, bytes<Exec> m, std::size_t from, Length const& length,
               F const& f) {
  if (!l.opens(ctx, m, static_cast<int>(from))) return false;
  std::size_t at = sizeof(letter_header);
  try {
    for (std::size_t i = 0; i < l.sections.size(); ++i) {
      auto const sum = sum_stream::read(m.data() + at, m.extent(0) - at, length(i));
      f(i, sum);
      at += sum.size();
    }
    if (at != m.extent(0)) throw payload_error("is longer than its sections");
  } catch (payload_error const& e) {
    l.complain("the message from rank " + std::to_string(from) + ' ' + e.what());
    return false;
  }
  return true;
}

/// How many coefficients section i is about.
template <class Exec>
std::size_t length_of(step<Exec> const& ctx, letter<Exec> const& l, std::size_t i) {
  return l.sections[i].who->length(letter<Exec>::context_of(ctx, l.sections[i]));
}

/// Room for letters of sums from all ranks, `total` bytes together; those of section i span `spans(i)` coefficients.
/// Where the number of entries is bounded it is made by what honest ranks could send at most, so that it never grows: what
/// arrives differs from step to step.
template <class Exec, class Spans>
bytes<Exec> room_for_all(step<Exec> const& ctx, letter<Exec>& l, std::size_t ranks, std::size_t total,
                         Spans const& spans) {
  std::size_t most = ranks * sizeof(letter_header);
  for (std::size_t i = 0; i < l.sections.size(); ++i) {
    auto const k = most_entries(ctx, l, l.sections[i]);
    if (l.kind.fixed_size || k < length_of(ctx, l, i)) most += 4 * ranks + std::min(8 * ranks * k, 4 * spans(i));
  }
  return part(l.inbox(std::max(total, most)), 0, total);
}

/// Gathers this rank's letter of sums, sizes first, and calls f(rank, i, sum) for each section i of each rank's;
/// `length(i, rank)` as above, all ranks' together the whole tensor. No rank's letter is longer than `most`. The sums lie
/// in the inbox.
///
/// - Sent  16 bytes and the letter.
template <class Exec, class Length, class F>
void gather_sums(step<Exec> const& ctx, transport& to, letter<Exec>& l, bytes<Exec> mine, std::size_t most,
                 Length const& length, F const& f) {
  auto const P = static_cast<std::size_t>(to.size()), size = mine.extent(0);
  letter<Exec>::seal(ctx, mine);
  auto const own = announcement::of(size);
  auto const sizes = ctx.template scratch<announcement>(P);
  to.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(sizes.data(), P)));
  l.sizes.assign(P, 0);
  std::size_t total = 0;
  for (std::size_t p = 0; p < P; ++p) total += l.sizes[p] = sizes(p).opened(most, p);
  auto const all = room_for_all(ctx, l, P, total, [&](std::size_t i) { return length_of(ctx, l, i); });
  to.all_gather_v({mine.data(), size}, l.sizes, {all.data(), total});
  l.sent += sizeof own + size;
  l.messages += 2;
  for (std::size_t p = 0, at = 0; p < P; at += l.sizes[p++])
    read_sums(
        ctx, l, part(all, at, l.sizes[p]), p, [&](std::size_t i) { return length(i, p); },
        [&](std::size_t i, sum_stream const& s) { f(p, i, s); });
}

}  // namespace detail
}  // namespace gradpress
