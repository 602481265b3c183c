// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which rank adds which indices: regions that split what the ranks send evenly, agreed on by all.

#include <gradpress/exchange/sum_letter.hpp>

namespace gradpress::detail {

/// What a tensor keeps of its regions, P floats: 1 once they were agreed on, then the bits of P - 1 starts. Null where it
/// keeps nothing.
struct kept_regions {
  float const* before = nullptr;
  float* after = nullptr;
};

/// Mean over the ranks, whose letters of `size` bytes lie at `all` one behind the other, of the p-th start of their tensor
/// number c: to first[p]. Means of what ascends, ascend.
inline void mean_starts(std::byte const* all, std::size_t size, std::size_t c, std::size_t P, index_t* first) {
  for (std::size_t p = 1; p < P; ++p) {
    std::uint64_t sum = 0;
    for (std::size_t q = 0; q < P; ++q) {
      index_t start = 0;
      std::memcpy(&start, all + q * size + sizeof(letter_header) + 4 * (c * (P - 1) + p - 1), 4);
      sum += start;
    }
    first[p] = std::clamp(static_cast<index_t>(sum / P), first[p - 1], first[P]);
  }
}

/// One gather, in which each rank proposes starts that split its own entries evenly for `wanted` sections; the means go to
/// `starts`, P + 1 a section.
template <class Exec>
void propose_regions(step<Exec> const& ctx, transport& to, letter<Exec>& l, std::span<std::size_t const> wanted,
                     index_t* starts) {
  auto const P = static_cast<std::size_t>(to.size()), count = wanted.size();
  auto const size = sizeof(letter_header) + 4 * count * (P - 1);
  auto const mine = l.outbox(size), all = l.inbox(P * size);
  auto const own = as<index_t>(part(mine, sizeof(letter_header), size - sizeof(letter_header)));
  for (std::size_t c = 0; c < count; ++c) {
    auto const stream = own_stream(ctx, l, l.sections[wanted[c]]);
    for (std::size_t p = 1; p < P; ++p)
      own(c * (P - 1) + p - 1) =
          stream.count == 0 ? starts[wanted[c] * (P + 1) + p] : stream.indices[p * stream.count / P];
  }
  letter<Exec>::seal(ctx, mine);
  to.all_gather({mine.data(), size}, {all.data(), P * size});
  l.sent += size;
  ++l.messages;
  bool good = true;
  for (std::size_t q = 0; q < P; ++q) good = l.opens(ctx, part(all, q * size, size), static_cast<int>(q)) && good;
  for (std::size_t c = 0; c < count && good; ++c) mean_starts(all.data(), size, c, P, starts + wanted[c] * (P + 1));
}

/// starts: P + 1 a section, where its regions begin, and n: as they were, or agreed on `anew`, and in any case where they
/// never were. `kept(i)`, the `kept_regions` of section i, gets them; a section that keeps none has even regions.
///
/// - Sent  nothing; or 32 bytes, and 4 (P - 1) for each section that is due.
template <class Exec, class Kept>
void agree_on_regions(step<Exec> const& ctx, transport& to, letter<Exec>& l, bool anew, Kept const& kept,
                      view<Exec, index_t> starts) {
  auto const P = static_cast<std::size_t>(to.size()), S = l.sections.size();
  auto const wanted = ctx.template scratch<std::size_t>(S);
  std::size_t count = 0;
  for (std::size_t i = 0; i < S; ++i) {
    auto const n = length_of(ctx, l, i);
    auto* const first = starts.data() + i * (P + 1);
    for (std::size_t p = 0; p <= P; ++p) first[p] = static_cast<index_t>(slice_of(n, p, P).first);
    auto const* const before = kept(i).before;
    if (before == nullptr) continue;
    if (anew || before[0] == 0) {
      wanted(count++) = i;
      continue;
    }
    for (std::size_t p = 1; p < P; ++p)  // from a checkpoint, perhaps: never out of order, never beyond the end
      first[p] = std::clamp(std::bit_cast<index_t>(before[p]), first[p - 1], static_cast<index_t>(n));
  }
  if (count > 0 && P > 1) propose_regions(ctx, to, l, {wanted.data(), count}, starts.data());
  for (std::size_t i = 0; i < S; ++i)
    if (auto* const after = kept(i).after) {
      after[0] = 1;
      for (std::size_t p = 1; p < P; ++p) after[p] = std::bit_cast<float>(starts(i * (P + 1) + p));
    }
}

}  // namespace gradpress::detail
