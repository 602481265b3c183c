// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Of a sum of sparse messages the entries that pass: a threshold first, then a number. And how ranks share that number.

#include <gradpress/exchange/sum_letter.hpp>
#include <gradpress/kernel/sparse_sum.hpp>

namespace gradpress::detail {

/// Of a sum: ascending indices and values, in scratch.
struct passing {
  index_t* index;
  float* value;
  std::size_t count;
};

/// Room for the entries of these sums, or of their sum, and one more, for the entry that is written and does not count.
/// By what honest ranks could send at most, so that it never grows: k entries each, or 2 k numbers of a dense sum.
inline std::size_t room_of_sums(std::span<sum_stream const> sums, std::size_t k, std::size_t length) {
  std::size_t arrived = 0;
  for (auto const& sum : sums) arrived += sum.values().size();
  return std::min(length, std::max(arrived, 2 * sums.size() * k)) + 1;
}

/// The entries of a sum that are not 0, as offsets plus `base`; returns how many.
inline std::size_t entries_of(sum_stream const& s, index_t base, index_t* index, float* value) {
  std::size_t at = 0;
  auto const take = [&](std::size_t i, float v) {
    index[at] = base + static_cast<index_t>(i);
    value[at] = v;
    at += static_cast<std::size_t>(v != 0);
  };
  if (s.dense != nullptr)
    for (std::size_t i = 0; i < s.length; ++i) take(i, s.dense[i]);
  for (std::size_t i = 0; i < s.sparse.count; ++i) take(s.sparse.indices[i], s.sparse.values[i]);
  return at;
}

/// Leaves the k largest by (|value| descending, index ascending); returns how many there are.
template <class Exec>
std::size_t leave_largest(step<Exec> const& ctx, index_t* index, float* value, std::size_t count, std::size_t k) {
  if (k == 0) return 0;
  return kernel::keep_largest(index, value, count, k,
                              ctx.template scratch<std::uint32_t>(kernel::kth_words_serial).data());
}

/// Adds all ranks' `pieces` of one region of a tensor of `n`, and leaves what reaches t, the k largest at most.
template <class Exec>
passing add_passing(step<Exec> const& ctx, std::span<sum_stream const> pieces, std::size_t n, float t, std::size_t k) {
  auto const length = pieces[0].length, room = room_of_sums(pieces, k, n);
  auto const streams = ctx.template scratch<kernel::stream>(pieces.size());
  auto const next = ctx.template scratch<std::size_t>(pieces.size());
  auto const sum = ctx.template scratch<std::byte>(4 + 8 * room);
  auto const bytes = sum_stream::write_sum(pieces, length, streams.data(), next.data(), sum.data());
  auto const added = sum_stream::read(sum.data(), bytes, length);
  auto const index = ctx.template scratch<index_t>(room);
  auto const value = ctx.scratch(room);
  auto const all = entries_of(added, 0, index.data(), value.data());
  auto const least = kernel::magnitude(t);
  std::size_t count = 0;
  for (std::size_t i = 0; i < all; ++i) {
    index(count) = index(i);
    value(count) = value(i);
    count += static_cast<std::size_t>(kernel::magnitude(value(i)) >= least);
  }
  return {index.data(), value.data(), leave_largest(ctx, index.data(), value.data(), count, k)};
}

/// Tells all ranks how many entries of each section pass here: S counts a rank. Throws `communicator_error` where a
/// count cannot be: without it this rank cannot take part any longer.
///
/// - Sent  8 bytes and 4 a section.
template <class Exec, class Most>
void agree_on_counts(transport& to, letter<Exec>& l, std::span<passing const> sums, Most const& most,
                     view<Exec, std::uint32_t> counts) {
  auto const P = static_cast<std::size_t>(to.size()), S = sums.size(), size = 8 + 4 * S;
  auto const mine = l.outbox(size), all = l.inbox(P * size);
  for (std::size_t i = 0; i < S; ++i) {
    auto const count = static_cast<std::uint32_t>(sums[i].count);
    std::memcpy(mine.data() + 8 + 4 * i, &count, 4);
  }
  auto const check = checksum({mine.data() + 8, 4 * S});
  std::memcpy(mine.data(), &check, 8);
  to.all_gather({mine.data(), size}, {all.data(), P * size});
  l.sent += size;
  ++l.messages;
  for (std::size_t p = 0; p < P; ++p) {
    auto const* const theirs = all.data() + p * size;
    std::uint64_t expected = 0;
    std::memcpy(&expected, theirs, 8);
    bool good = checksum({theirs + 8, 4 * S}) == expected;
    for (std::size_t i = 0; i < S; ++i) {
      std::memcpy(&counts(p * S + i), theirs + 8 + 4 * i, 4);
      good = good && counts(p * S + i) <= most(i);
    }
    if (!good)
      throw communicator_error("the numbers of entries that rank " + std::to_string(p) +
                               " announced were damaged on their way");
  }
}

/// The most entries that one of P ranks may send, no more than k, so that all together send `room` at most; who has fewer
/// leaves room to others. counts: that of rank p stands at p * stride.
[[nodiscard]] inline std::size_t fair_share(std::uint32_t const* counts, std::size_t stride, std::size_t P,
                                            std::size_t k, std::size_t room) {
  auto const fits = [&](std::size_t each) {
    std::size_t sum = 0;
    for (std::size_t p = 0; p < P; ++p) sum += std::min<std::size_t>(counts[p * stride], each);
    return sum <= room;
  };
  std::size_t least = 0, most = k;  // the greatest that fits
  while (least < most) {
    auto const middle = (least + most + 1) / 2;
    if (fits(middle))
      least = middle;
    else
      most = middle - 1;
  }
  return least;
}

}  // namespace gradpress::detail
