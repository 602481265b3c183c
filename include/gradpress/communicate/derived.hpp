// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Every collective, by the communicator's own operation where it offers one, else derived from a byte all-gather.
/// `room` is scratch of the caller that only grows.

#include <gradpress/concepts/communicator.hpp>

#include <algorithm>
#include <cstring>
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
/// Gathers x of all ranks and folds them in rank order, so that every rank computes the same bits.
template <class T, class C, class Fold>
void gather_and_fold(C& c, std::span<T> x, room_t& room, Fold fold) {
  auto const all = take(room, ranks(c) * x.size_bytes());
  c.all_gather(std::as_bytes(x), all);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = fold([&](std::size_t p) {
      T v;
      std::memcpy(&v, all.data() + p * x.size_bytes() + i * sizeof(T), sizeof(T));
      return v;
    });
}
}  // namespace detail

/// The sum of at(0), at(1), ...: in T, or in float and rounded once where T is a narrow float.
template <class T, class At>
T sum_in_rank_order(std::size_t P, At at) {
  if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>) {
    float sum = to_float(at(0));
    for (std::size_t p = 1; p < P; ++p) sum += to_float(at(p));
    return narrow<T>(sum);
  } else {
    T sum = at(0);
    for (std::size_t p = 1; p < P; ++p) sum = static_cast<T>(sum + at(p));
    return sum;
  }
}

template <class C>
void all_gather_v(C& c, std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all, room_t& room) {
  if constexpr (concepts::has_all_gather_v<C>)
    if (detail::offers(c, operation::all_gather_v)) return c.all_gather_v(mine, sizes, all);
  auto const longest = *std::max_element(sizes.begin(), sizes.end()), P = detail::ranks(c);
  auto const space = detail::take(room, (P + 1) * longest);
  if (!mine.empty()) std::memcpy(space.data(), mine.data(), mine.size());
  std::memset(space.data() + mine.size(), 0, longest - mine.size());
  c.all_gather(space.first(longest), space.subspan(longest));
  std::size_t at = 0;
  for (std::size_t p = 0; p < P; at += sizes[p++])
    if (sizes[p] > 0) std::memcpy(all.data() + at, space.data() + (p + 1) * longest, sizes[p]);
}

template <class T, class C>
void all_reduce_sum(C& c, std::span<T> x, room_t& room) {
  if constexpr (concepts::has_all_reduce_sum<C, T>)
    if (detail::offers(c, operation::all_reduce_sum)) return c.all_reduce_sum(x);
  auto const P = detail::ranks(c);
  detail::gather_and_fold(c, x, room, [P](auto at) { return sum_in_rank_order<T>(P, at); });
}

template <class C>
void all_reduce_max(C& c, std::span<float> x, room_t& room) {
  if constexpr (concepts::has_all_reduce_max<C>)
    if (detail::offers(c, operation::all_reduce_max)) return c.all_reduce_max(x);
  auto const P = detail::ranks(c);
  detail::gather_and_fold(c, x, room, [P](auto at) {
    float top = at(0);
    for (std::size_t p = 1; p < P; ++p) top = std::max(top, at(p));
    return top;
  });
}

template <class C>
void send_recv(C& c, int to, std::span<std::byte const> out, int from, std::span<std::byte> in, room_t& room) {
  if constexpr (concepts::has_send_recv<C>)
    if (detail::offers(c, operation::send_recv)) return c.send_recv(to, out, from, in);
  auto const all = detail::take(room, detail::ranks(c) * out.size());  // all messages of a hop have one size
  c.all_gather(out, all);
  if (from >= 0 && !in.empty()) std::memcpy(in.data(), all.data() + static_cast<std::size_t>(from) * out.size(), in.size());
}

template <class C>
void all_to_all(C& c, std::span<std::byte const> out, std::span<std::byte> in, room_t& room) {
  if constexpr (concepts::has_all_to_all<C>)
    if (detail::offers(c, operation::all_to_all)) return c.all_to_all(out, in);
  auto const P = detail::ranks(c), block = out.size() / P, r = static_cast<std::size_t>(c.rank());
  auto const all = detail::take(room, P * out.size());
  c.all_gather(out, all);
  for (std::size_t p = 0; p < P && block > 0; ++p) std::memcpy(in.data() + p * block, all.data() + p * out.size() + r * block, block);
}

}  // namespace gradpress::collective
