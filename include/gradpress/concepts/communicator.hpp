// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a communicator must provide, what it may offer, and the sentence a user reads when something is missing.

#include <gradpress/core/kind.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

namespace gradpress {

/// Operations that are derived from `all_gather` unless a communicator offers them.
enum class operation { all_gather_v, all_reduce_sum, all_reduce_max, send_recv, all_to_all };

namespace concepts {
using bytes_in = std::span<std::byte const>;
using bytes_out = std::span<std::byte>;

template <class C>
concept has_rank = requires(C& c) {
  { c.rank() } -> std::convertible_to<int>;
};
template <class C>
concept has_size = requires(C& c) {
  { c.size() } -> std::convertible_to<int>;
};
template <class C>
concept has_all_gather = requires(C& c, bytes_in mine, bytes_out all) {
  c.all_gather(mine, all);
};
template <class C>
concept has_all_gather_v = requires(C& c, bytes_in mine, std::span<std::size_t const> sizes, bytes_out all) {
  c.all_gather_v(mine, sizes, all);
};
template <class C, class T>
concept has_all_reduce_sum = requires(C& c, std::span<T> x) {
  c.all_reduce_sum(x);
};
template <class C>
concept has_all_reduce_max = requires(C& c, std::span<float> x) {
  c.all_reduce_max(x);
};
template <class C>
concept has_send_recv = requires(C& c, bytes_in out, bytes_out in) {
  c.send_recv(0, out, 0, in);
};
template <class C>
concept has_all_to_all = requires(C& c, bytes_in out, bytes_out in) {
  c.all_to_all(out, in);
};
template <class C>
concept has_abandon = requires(C& c) {
  c.abandon(std::string_view{});
};
/// Some offers are known only when the program runs.
template <class C>
concept has_offers = requires(C const& c) {
  { c.offers(operation{}) } -> std::same_as<bool>;
};
/// Its calls only enqueue; whoever reads the bytes at once would read too early.
template <class C>
concept stream_ordered = requires {
  requires std::remove_cvref_t<C>::stream_ordered;
};
}  // namespace concepts

/// A communicator moves bytes of host memory between P ranks. Calls block until this rank's memory may be read and
/// reused. What is sent and what is received never overlap, except in sums and maxima, which are in place.
///
/// Required:
///
/// | expression                | means                                                                              |
/// |---------------------------|------------------------------------------------------------------------------------|
/// | `c.rank()`, `c.size()`    | who, of how many; fixed for the life of c                                          |
/// | `c.all_gather(mine, all)` | equal sizes on all ranks, 0 included; `all` receives size() blocks in rank order   |
///
/// Everything else may be offered, and is derived from all_gather where it is not. With messages of m bytes a rank:
///
/// | expression                           | bytes a rank receives: derived / by a good transport                    |
/// |--------------------------------------|-------------------------------------------------------------------------|
/// | `c.all_gather_v(mine, sizes, all)`   | (P-1) max_i m_i / sum of the others' m_i; all ranks know all sizes      |
/// | `c.all_reduce_sum(std::span<T>)`     | (P-1) m / 2 (P-1)/P m; asked for each T on its own                      |
/// | `c.all_reduce_max(std::span<float>)` | the same                                                                |
/// | `c.send_recv(to, out, from, in)`     | (P-1) m / m; every rank calls, -1 is nobody; sizes differ from pair to pair |
/// | `c.all_to_all(out, in)`              | (P-1) m / (P-1)/P m; P equal blocks, together m bytes                   |
/// | `c.abandon(why)`                     | without it, ranks that wait for one that failed go on waiting           |
/// | `c.offers(operation)`                | bool, for offers known only at run time; absent: all that compile       |
/// | `C::stream_ordered`                  | if true, C is refused: its calls return before the bytes are there      |
///
/// T is float, double, int8_t, int16_t, int32_t, bfloat16 or float16. An all_reduce_sum must give the same bits on
/// every rank. A communicator reports failure by an exception. An offer with another signature is no offer: assert
/// `concepts::has_send_recv<C>` or its siblings beside your class.
template <class C>
concept communicator =
    concepts::has_rank<C> && concepts::has_size<C> && concepts::has_all_gather<C> && !concepts::stream_ordered<C>;

/// Fails to compile with one plain sentence about the first thing that C lacks.
template <class C>
consteval bool explain_communicator() {
  if constexpr (!concepts::has_rank<C>)
    static_assert(always_false<C>, "Communicator: needs 'int rank()'.");
  else if constexpr (!concepts::has_size<C>)
    static_assert(always_false<C>, "Communicator: needs 'int size()'.");
  else if constexpr (concepts::stream_ordered<C>)
    static_assert(always_false<C>,
                  "Communicator: 'stream_ordered' is true, but calls must block; wrap it in one that stages through "
                  "host memory and waits.");
  else if constexpr (!concepts::has_all_gather<C>)
    static_assert(always_false<C>,
                  "Communicator: needs 'void all_gather(std::span<std::byte const> mine, std::span<std::byte> all)'.");
  return communicator<C>;
}

namespace archetypes {
/// The least that is a communicator.
struct communicator {
  int rank();
  int size();
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all);
};
}  // namespace archetypes
static_assert(communicator<archetypes::communicator>);

}  // namespace gradpress
