// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a communicator must provide, what it may offer, and the sentence a user reads when something is missing.

#include <gradpress/core/kind.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

namespace gradpress {

/// Operations that are derived from `all_gather` unless a communicator offers them.
enum class operation { all_gather_v, all_reduce_sum, all_reduce_max, send_recv, all_to_all };

namespace concepts {
using bytes_in = std::span<std::byte const>;
using bytes_out = std::span<std::byte>;

template <class C>
concept has_rank_and_size = requires(C& c) {
  { c.rank() } -> std::convertible_to<int>;
  { c.size() } -> std::convertible_to<int>;
};
template <class C>
concept has_all_gather = requires(C& c, bytes_in mine, bytes_out all) { c.all_gather(mine, all); };
template <class C>
concept has_all_gather_v = requires(C& c, bytes_in mine, std::span<std::size_t const> sizes, bytes_out all) { c.all_gather_v(mine, sizes, all); };
template <class C, class T>
concept has_all_reduce_sum = requires(C& c, std::span<T> x) { c.all_reduce_sum(x); };
template <class C>
concept has_all_reduce_max = requires(C& c, std::span<float> x) { c.all_reduce_max(x); };
template <class C>
concept has_send_recv = requires(C& c, bytes_in out, bytes_out in) { c.send_recv(0, out, 0, in); };
template <class C>
concept has_all_to_all = requires(C& c, bytes_in out, bytes_out in) { c.all_to_all(out, in); };
template <class C>
concept has_abandon = requires(C& c) { c.abandon(std::string_view{}); };
/// Some offers are known only when the program runs.
template <class C>
concept has_offers = requires(C const& c) {
  { c.offers(operation{}) } -> std::same_as<bool>;
};
}  // namespace concepts

/// A communicator moves bytes of host memory between P ranks. Calls block.
///
/// | expression                    | means                                                                                |
/// |-------------------------------|--------------------------------------------------------------------------------------|
/// | `c.rank()`, `c.size()`        | who, of how many                                                                     |
/// | `c.all_gather(mine, all)`     | equal sizes on all ranks; `all` receives size() blocks in rank order                  |
///
/// Everything else may be offered and is derived from all_gather where it is not, which costs:
///
/// | expression                             | derived at the cost of                                                      |
/// |----------------------------------------|------------------------------------------------------------------------------|
/// | `c.all_gather_v(mine, sizes, all)`     | P times the longest message, instead of the sum of all                       |
/// | `c.all_reduce_sum(std::span<T>)`       | (P-1) n received a rank, instead of 2 (P-1)/P n of a ring                    |
/// | `c.all_reduce_max(std::span<float>)`   | the same                                                                     |
/// | `c.send_recv(to, out, from, in)`       | (P-1) messages received a rank, instead of one; to, from may be -1, nobody   |
/// | `c.all_to_all(out, in)`                | (P-1) n received a rank, instead of (P-1)/P n                                |
/// | `c.abandon(why)`                       | ranks that wait for one that failed go on waiting                            |
/// | `c.offers(operation)`                  | bool, for offers known only at run time; absent: all that compile            |
///
/// An all_reduce_sum must give the same bits on every rank. A communicator reports failure by an exception.
template <class C>
concept communicator = concepts::has_rank_and_size<C> && concepts::has_all_gather<C>;

/// Fails to compile with one plain sentence about the first thing that C lacks.
template <class C>
consteval bool explain_communicator() {
  if constexpr (!concepts::has_rank_and_size<C>)
    static_assert(always_false<C>, "Communicator: needs 'int rank()' and 'int size()'.");
  else if constexpr (!concepts::has_all_gather<C>)
    static_assert(always_false<C>, "Communicator: needs 'void all_gather(std::span<std::byte const> mine, std::span<std::byte> all)'.");
  return communicator<C>;
}

}  // namespace gradpress
