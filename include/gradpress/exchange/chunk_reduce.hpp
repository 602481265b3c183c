// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the exchanges share that cut every tensor into one chunk a rank: all chunks to their owners, something that the
/// owner makes of them, and that to everybody.

#include <gradpress/concepts/exchange.hpp>

namespace gradpress::detail {

/// Bytes of the largest block: a header and the first chunk of every tensor, which is its largest.
template <class Exec, class Size>
std::size_t block_bytes(letter<Exec> const& l, Size const& size) {
  std::size_t all = sizeof(letter_header);
  for (auto const& s : l.sections) all += size(s, 0);
  return all;
}

/// Block p: this rank's codes of chunk p of every tensor.
template <class Exec>
void pack_chunks(step<Exec> const& ctx, letter<Exec>& l, int P, std::size_t block, bytes<Exec> out) {
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

/// Calls f(), which works on a section; what it throws becomes a complaint, and false. The section's scratch dies.
template <class Exec, class F>
bool try_section(step<Exec> const& ctx, letter<Exec>& l, char const* what, F const& f) {
  bool good = true;
  try {
    f();
  } catch (error const& e) {
    l.complain(std::string(what) + e.what(), dynamic_cast<non_finite_error const*>(&e) != nullptr);
    good = false;
  }
  ctx.memory->release();
  return good;
}

/// At the owner: its block, made of what all ranks sent it. A chunk that cannot be reduced travels as zeros, and the step
/// fails.
template <class Exec, class Size, class Make>
void reduce_chunks(step<Exec> const& ctx, letter<Exec>& l, int r, int P, bytes<Exec> in, bytes<Exec> out,
                   Size const& size, Make const& make) {
  clear(out.data(), out.extent(0));
  auto const block = in.extent(0) / static_cast<std::size_t>(P);
  for (int p = 0; p < P; ++p)
    if (!l.opens(ctx, part(in, static_cast<std::size_t>(p) * block, block), p)) return;
  std::size_t from = sizeof(letter_header), at = sizeof(letter_header);
  for (auto const& s : l.sections) {
    auto const own = letter<Exec>::context_of(ctx, s);
    auto const arrives = s.who->chunk_bytes(own, r), leaves = size(s, r);
    l.arrived.clear();
    for (int p = 0; p < P; ++p) l.arrived.push_back(part(in, static_cast<std::size_t>(p) * block + from, arrives));
    auto const room = part(out, at, leaves);
    if (!try_section(ctx, l, "a chunk of a tensor: ", [&] { make(s, own, l.arrived, room); }))
      clear(room.data(), leaves);
    from += arrives;
    at += leaves;
  }
}

/// Sends chunk p of every tensor to rank p, which writes `size(section, p)` bytes by make(section, ctx, messages, out):
/// its scratch is dead afterwards, and what it throws is a complaint. Returns all ranks' results, for `for_each_chunk`,
/// in the inbox; nothing, with a complaint, if one is not what an honest rank sends. The outbox is free again.
///
/// - Network  P - 1 blocks of codes out and in, then one block of results out and P - 1 in.
/// - Sent     counts P - 1 blocks of codes and one of results.
template <class Exec, class Size, class Make>
bytes<Exec> meet_in_chunks(step<Exec> const& ctx, transport& to, letter<Exec>& l, Size const& size, Make const& make) {
  int const P = to.size(), r = to.rank();
  auto const ranks = static_cast<std::size_t>(P);
  auto const up = block_bytes(l, [&](auto const&s, int p) { return s.who->chunk_bytes(ctx, p); }),
             down = block_bytes(l, size);
  auto const out = l.outbox(std::max(ranks * up, down)), in = l.inbox(ranks * (up + down));
  pack_chunks(ctx, l, P, up, out);
  to.all_to_all({out.data(), ranks * up}, {in.data(), ranks * up});
  auto const mine = part(out, 0, down), all = part(in, ranks * up, ranks * down);
  reduce_chunks(ctx, l, r, P, part(in, 0, ranks * up), mine, size, make);
  letter<Exec>::seal(ctx, mine);
  to.all_gather({mine.data(), down}, {all.data(), all.extent(0)});
  l.sent += (ranks - 1) * up + down;
  l.messages += 2;
  l.arrived.clear();
  for (int p = 0; p < P; ++p)
    if (!l.opens(ctx, part(all, static_cast<std::size_t>(p) * down, down), p)) return {};
  return all;
}

/// Calls take(i, p, bytes) for section i and chunk p of what `meet_in_chunks` returned.
template <class Exec, class Size, class Take>
void for_each_chunk(letter<Exec> const& l, int P, bytes<Exec> all, Size const& size, Take const& take) {
  auto const block = all.extent(0) / static_cast<std::size_t>(P);
  for (int p = 0; p < P && block > 0; ++p) {
    auto at = static_cast<std::size_t>(p) * block + sizeof(letter_header);
    for (std::size_t i = 0; i < l.sections.size(); ++i) {
      auto const bytes = size(l.sections[i], p);
      take(i, p, part(all, at, bytes));
      at += bytes;
    }
  }
}

/// Room for the update of every tensor as floats, and each section's one message in it. Takes the outbox.
template <class Exec>
void expect_floats(step<Exec> const& ctx, letter<Exec>& l) {
  std::size_t all = 0;
  for (auto const& s : l.sections) all += s.who->length(letter<Exec>::context_of(ctx, s));
  auto const room = l.outbox(4 * all);
  l.form = arrival_form::floats;
  l.arrived.clear();
  std::size_t at = 0;
  for (auto& s : l.sections) {
    auto const size = 4 * s.who->length(letter<Exec>::context_of(ctx, s));
    s.first = l.arrived.size();
    s.count = 1;
    l.arrived.push_back(part(room, at, size));
    at += size;
  }
}
/// Section s of that room, to write.
template <class Exec>
view<Exec> floats_of(letter<Exec> const& l, typename letter<Exec>::section const& s) {
  auto const m = l.arrived[s.first];
  return view<Exec>(const_cast<float*>(as<float const>(m).data()), m.extent(0) / 4);
}

}  // namespace gradpress::detail
