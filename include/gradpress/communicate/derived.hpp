// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Every collective, by the communicator's own operation where it offers one, else derived from a byte all-gather.
///
/// `room` is scratch of the caller that only grows: nothing is allocated once it has met the largest call.
/// Sizes that cannot be right on this rank alone are a `communicator_error` before anything is sent.

#include <gradpress/concepts/communicator.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace gradpress::collective {

using room_t = std::vector<std::byte>;

namespace detail {
template <class C>
bool offers(C const& c, operation op) {
  if constexpr (concepts::has_offers<C>) return c.offers(op);
  return true;
}
inline std::span<std::byte> take(room_t& room, std::size_t n) {
  if (room.size() < n) room.resize(n);
  return std::span(room).first(n);
}
template <class C>
std::size_t ranks(C& c) {
  return static_cast<std::size_t>(c.size());
}
inline void copy(std::byte* to, std::byte const* from, std::size_t n) {
  if (n > 0) std::memcpy(to, from, n);  // an empty span may hold a null pointer
}
/// `from` at the front of `to`, zeros behind it.
inline void pad(std::span<std::byte> to, std::span<std::byte const> from) {
  copy(to.data(), from.data(), std::min(from.size(), to.size()));
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(from.size()), to.end(), std::byte{0});
}
template <class C>
void demand(bool fits, C& c, char const* call, char const* what) {
  if (!fits) throw communicator_error("rank " + std::to_string(c.rank()) + ": " + call + ": " + what);
}
inline constexpr char const* wrong_gather = "'all' must hold size() messages as long as 'mine'";
inline constexpr char const* wrong_gather_v =
    "needs a size for each rank, 'mine' as long as its own, and 'all' as long as their sum";
inline constexpr char const* wrong_transpose = "'out' must be size() equal blocks, and 'in' as long as 'out'";

inline bool fits_gather_v(std::size_t P, std::size_t rank, std::span<std::byte const> mine,
                          std::span<std::size_t const> sizes, std::span<std::byte const> all) {
  std::size_t total = 0;
  for (auto const s : sizes) total += s;
  return sizes.size() == P && mine.size() == sizes[rank] && all.size() == total;
}

template <class T>
inline constexpr bool is_half = std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>;

template <class T>
struct sum {
  using wide = std::conditional_t<is_half<T>, float, T>;
  static wide widen(T x) {
    if constexpr (is_half<T>)
      return to_float(x);
    else
      return x;
  }
  static wide join(wide a, wide b) { return static_cast<wide>(a + b); }
  static T close(wide x) {
    if constexpr (is_half<T>)
      return narrow<T>(x);
    else
      return x;
  }
};
struct max {
  using wide = float;
  static float widen(float x) { return x; }
  static float join(float a, float b) { return std::max(a, b); }
  static float close(float x) { return x; }
};

/// out[i] = row(0)[i] joined with row(1)[i] and so on, in rank order, for i in [begin, end). `out` may be one of the
/// rows.
///
/// A block at a time, row by row: each row is read as one stream, and the fixed length is what lets -O2 vectorise.
template <class Fold, class T, class Row>
void fold_rows(std::size_t P, std::size_t begin, std::size_t end, T* out, Row row) {
  constexpr std::size_t block = 256;
  typename Fold::wide folded[block];
  auto const whole = begin + (end - begin) / block * block;
  for (std::size_t at = begin; at < whole; at += block) {
    T const* x = row(0) + at;
    for (std::size_t i = 0; i < block; ++i) folded[i] = Fold::widen(x[i]);
    for (std::size_t p = 1; p < P; ++p) {
      x = row(p) + at;
      for (std::size_t i = 0; i < block; ++i) folded[i] = Fold::join(folded[i], Fold::widen(x[i]));
    }
    for (std::size_t i = 0; i < block; ++i) out[at + i] = Fold::close(folded[i]);
  }
  for (std::size_t i = whole; i < end; ++i) {
    auto one = Fold::widen(row(0)[i]);
    for (std::size_t p = 1; p < P; ++p) one = Fold::join(one, Fold::widen(row(p)[i]));
    out[i] = Fold::close(one);
  }
}

/// Gathers x of all ranks and folds them: every rank computes the same bits.
template <class Fold, class T, class C>
void gather_and_fold(C& c, std::span<T> x, room_t& room) {
  auto const P = ranks(c);
  auto const all = take(room, P * x.size_bytes());
  c.all_gather(std::as_bytes(x), all);
  auto const* rows = reinterpret_cast<T const*>(all.data());  // new aligns for any scalar, and rows are whole scalars
  fold_rows<Fold>(P, 0, x.size(), x.data(), [&](std::size_t p) { return rows + p * x.size(); });
}

/// From this many elements on bytes count for more than messages.
inline constexpr std::size_t worth_a_shuffle = 16384;

/// Each rank folds its own part of x and sends it to all: the same bits as gather_and_fold, for 2/P of its bytes.
template <class Fold, class T, class C>
void shuffle_and_fold(C& c, std::span<T> x, room_t& room) {
  auto const P = ranks(c), part = (x.size() + P - 1) / P, all = P * part * sizeof(T);
  auto const space = take(room, 2 * all);
  auto const out = space.first(all), in = space.subspan(all);
  detail::copy(out.data(), std::as_bytes(x).data(), x.size_bytes());
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(x.size_bytes()), out.end(), std::byte{0});
  c.all_to_all(out, in);
  auto const* rows = reinterpret_cast<T const*>(in.data());
  auto* const mine = reinterpret_cast<T*>(out.data());
  fold_rows<Fold>(P, 0, part, mine, [&](std::size_t p) { return rows + p * part; });
  c.all_gather(std::as_bytes(std::span(mine, part)), in);
  detail::copy(std::as_writable_bytes(x).data(), in.data(), x.size_bytes());
}

template <class Fold, class T, class C>
void fold(C& c, std::span<T> x, room_t& room) {
  if constexpr (concepts::has_all_to_all<C>)
    if (c.size() > 2 && x.size() >= worth_a_shuffle && offers(c, operation::all_to_all))
      return shuffle_and_fold<Fold>(c, x, room);
  gather_and_fold<Fold>(c, x, room);
}
}  // namespace detail

/// - Network  (P-1) m received a rank.
template <class C>
void all_gather(C& c, std::span<std::byte const> mine, std::span<std::byte> all, room_t&) {
  detail::demand(all.size() == detail::ranks(c) * mine.size(), c, "all_gather", detail::wrong_gather);
  c.all_gather(mine, all);
}

/// Messages of different sizes, which all ranks know beforehand.
///
/// - Network  derived: padded to the longest, so (P-1) max_i m_i received a rank.
template <class C>
void all_gather_v(C& c, std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all,
                  room_t& room) {
  auto const P = detail::ranks(c), r = static_cast<std::size_t>(c.rank());
  detail::demand(detail::fits_gather_v(P, r, mine, sizes, all), c, "all_gather_v", detail::wrong_gather_v);
  if constexpr (concepts::has_all_gather_v<C>)
    if (detail::offers(c, operation::all_gather_v)) return c.all_gather_v(mine, sizes, all);
  auto const longest = *std::max_element(sizes.begin(), sizes.end());
  auto const space = detail::take(room, (P + 1) * longest);
  detail::copy(space.data(), mine.data(), mine.size());
  std::fill(space.begin() + static_cast<std::ptrdiff_t>(mine.size()),
            space.begin() + static_cast<std::ptrdiff_t>(longest), std::byte{0});
  c.all_gather(space.first(longest), space.subspan(longest));
  std::size_t at = 0;
  for (std::size_t p = 0; p < P; at += sizes[p++])
    detail::copy(all.data() + at, space.data() + (p + 1) * longest, sizes[p]);
}

/// In place, the same bits on every rank.
///
/// - Sums     derived: in rank order, in T; narrow floats are summed in float and rounded once. Integers must not
///            overflow: the caller picks a type that holds P times its largest code.
/// - Network  derived: (P-1) m received a rank; of long sums, where all_to_all is offered, 2 (P-1)/P m.
template <class T, class C>
void all_reduce_sum(C& c, std::span<T> x, room_t& room) {
  if constexpr (concepts::has_all_reduce_sum<C, T>)
    if (detail::offers(c, operation::all_reduce_sum)) return c.all_reduce_sum(x);
  detail::fold<detail::sum<T>>(c, x, room);
}

/// In place. What becomes of NaN is the transport's affair: the caller keeps them out.
///
/// - Network  derived: as for sums.
template <class C>
void all_reduce_max(C& c, std::span<float> x, room_t& room) {
  if constexpr (concepts::has_all_reduce_max<C>)
    if (detail::offers(c, operation::all_reduce_max)) return c.all_reduce_max(x);
  detail::fold<detail::max>(c, x, room);
}

/// Every rank calls; to and from may be -1, nobody. All `out` of one call have the same size on all ranks, those that
/// send to nobody included, and so have all `in` that are received: that is what can be derived.
///
/// - Network  derived: (P-1) m received a rank.
template <class C>
void send_recv(C& c, int to, std::span<std::byte const> out, int from, std::span<std::byte> in, room_t& room) {
  detail::demand(to >= -1 && to < c.size() && from >= -1 && from < c.size(), c, "send_recv", "no such rank");
  if constexpr (concepts::has_send_recv<C>)
    if (detail::offers(c, operation::send_recv)) return c.send_recv(to, out, from, in);
  detail::demand(from < 0 || in.size() == out.size(), c, "send_recv", "all messages of one call must be equally long");
  auto const all = detail::take(room, detail::ranks(c) * out.size());
  c.all_gather(out, all);
  if (from >= 0) detail::copy(in.data(), all.data() + static_cast<std::size_t>(from) * out.size(), in.size());
}

/// The same with sizes that differ from pair to pair; both ends of a message know its size, and nobody else.
///
/// - Network  by the communicator's own send_recv where it offers one, which must then take such sizes; else derived:
///            sizes are gathered, 8 bytes a rank, then messages padded to the longest: (P-1) max m received a rank.
template <class C>
void send_recv_v(C& c, int to, std::span<std::byte const> out, int from, std::span<std::byte> in, room_t& room) {
  detail::demand(to >= -1 && to < c.size() && from >= -1 && from < c.size(), c, "send_recv_v", "no such rank");
  if constexpr (concepts::has_send_recv<C>)
    if (detail::offers(c, operation::send_recv)) return c.send_recv(to, out, from, in);
  auto const leaves = to < 0 ? std::span<std::byte const>{} : out;
  auto const P = detail::ranks(c);
  auto const head = P * sizeof(std::size_t), own = leaves.size();
  auto* sizes = reinterpret_cast<std::size_t*>(detail::take(room, head).data());
  c.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(sizes, P)));
  auto const longest = *std::max_element(sizes, sizes + P);
  auto const expected = from < 0 ? std::size_t{0} : sizes[from];
  auto const space = detail::take(room, (P + 1) * longest);
  detail::pad(space.first(longest), leaves);
  c.all_gather(space.first(longest), space.subspan(longest));
  if (from < 0) return;
  detail::demand(expected == in.size(), c, "send_recv_v", "what arrives is not as long as 'in'");
  detail::copy(in.data(), space.data() + (static_cast<std::size_t>(from) + 1) * longest, in.size());
}

/// Block r of `out` goes to rank r; block r of `in` comes from it.
///
/// - Network  derived: (P-1) m received a rank, m bytes being all blocks together.
template <class C>
void all_to_all(C& c, std::span<std::byte const> out, std::span<std::byte> in, room_t& room) {
  auto const P = detail::ranks(c), r = static_cast<std::size_t>(c.rank());
  detail::demand(out.size() % P == 0 && in.size() == out.size(), c, "all_to_all", detail::wrong_transpose);
  if constexpr (concepts::has_all_to_all<C>)
    if (detail::offers(c, operation::all_to_all)) return c.all_to_all(out, in);
  auto const block = out.size() / P;
  auto const all = detail::take(room, P * out.size());
  c.all_gather(out, all);
  for (std::size_t p = 0; p < P; ++p)
    detail::copy(in.data() + p * block, all.data() + p * out.size() + r * block, block);
}

/// Blocks of any sizes, end to end in `out` and in `in`: block r goes to rank r, comes from it. Both ends of a block know
/// its size, and nobody else.
///
/// - Network  where send_recv is offered: the blocks themselves, rank r to r + 1, r + 2, ...; empty ones are not sent.
///            Else derived: as all_gather_v of all blocks and P sizes a rank, padded to the longest.
template <class C>
void all_to_all_v(C& c, std::span<std::byte const> out, std::span<std::size_t const> out_sizes, std::span<std::byte> in,
                  std::span<std::size_t const> in_sizes, room_t& room) {
  auto const P = detail::ranks(c), r = static_cast<std::size_t>(c.rank());
  auto const start = [](std::span<std::size_t const> sizes, std::size_t p) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < p; ++i) at += sizes[i];
    return at;
  };
  detail::demand(out_sizes.size() == P && in_sizes.size() == P && start(out_sizes, P) == out.size() &&
                     start(in_sizes, P) == in.size() && out_sizes[r] == in_sizes[r],
                 c, "all_to_all_v", "needs a size for each rank, and 'out' and 'in' as long as their sums");
  detail::copy(in.data() + start(in_sizes, r), out.data() + start(out_sizes, r), out_sizes[r]);
  if constexpr (concepts::has_send_recv<C>)
    if (detail::offers(c, operation::send_recv)) {
      for (std::size_t d = 1; d < P; ++d) {
        auto const to = (r + d) % P, from = (r + P - d) % P;
        // Both ends know that a block is empty: nobody sends it.
        c.send_recv(out_sizes[to] > 0 ? static_cast<int>(to) : -1, out.subspan(start(out_sizes, to), out_sizes[to]),
                    in_sizes[from] > 0 ? static_cast<int>(from) : -1,
                    in.subspan(start(in_sizes, from), in_sizes[from]));
      }
      return;
    }
  auto const head = P * sizeof(std::size_t), own = head + out.size();
  auto* totals = reinterpret_cast<std::size_t*>(detail::take(room, head).data());
  c.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(totals, P)));
  auto const longest = *std::max_element(totals, totals + P);
  auto const space = detail::take(room, (P + 1) * longest), all = space.subspan(longest);
  detail::copy(space.data(), std::as_bytes(out_sizes).data(), head);
  detail::pad(space.subspan(head, longest - head), out);
  c.all_gather(space.first(longest), all);
  for (std::size_t p = 0, at = 0; p < P; at += in_sizes[p++]) {
    auto const* message = all.data() + p * longest;
    std::size_t from = head, size = 0;
    for (std::size_t q = 0; q <= r; ++q) {
      from += size;
      std::memcpy(&size, message + q * sizeof size, sizeof size);
      detail::demand(from <= longest && size <= longest - from, c, "all_to_all_v", "a message is damaged");
    }
    detail::demand(size == in_sizes[p], c, "all_to_all_v", "a block that arrives is not as long as announced");
    detail::copy(in.data() + at, message + from, size);
  }
}

}  // namespace gradpress::collective
