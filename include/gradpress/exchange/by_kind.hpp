// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: chosen from the message kind and the memory, at compile time.

#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/exchange/all_reduce.hpp>
#include <gradpress/exchange/scatter_reduce.hpp>

namespace gradpress {

/// Sums where messages add up, gathers where they do not.
///
/// | messages                                        | exchange                                                         |
/// |-------------------------------------------------|------------------------------------------------------------------|
/// | add up in float or integers                     | all_reduce                                                       |
/// | add up in bfloat16 or float16, no memory        | all_reduce: the sum rounds, and nothing was promised             |
/// | the same with a memory, dense                   | scatter_reduce: sums in float, and the owner remembers rounding  |
/// | the same with a memory, sparse                  | all_gather                                                       |
/// | everything else                                 | all_gather                                                       |
struct by_kind {
  using family = family::exchange;
  static constexpr std::string_view name = "by_kind";
};

namespace detail {
template <message_kind Kind, bool Remembers>
struct resolve_by_kind {
  static constexpr bool rounds_again = Remembers && is_narrow(Kind.element) && Kind.combines == combination::sum;
  using type =
      std::conditional_t<all_reduce::accepts(Kind) && !rounds_again, all_reduce,
                         std::conditional_t<rounds_again && scatter_reduce::accepts(Kind), scatter_reduce, all_gather>>;
};
template <class X, message_kind Kind, bool Remembers>
struct resolve {
  using type = X;
};
template <message_kind Kind, bool Remembers>
struct resolve<by_kind, Kind, Remembers> : resolve_by_kind<Kind, Remembers> {};
}  // namespace detail

/// X itself, or what `by_kind` stands for.
template <class X, message_kind Kind, bool Remembers>
using resolved_exchange = typename detail::resolve<X, Kind, Remembers>::type;

}  // namespace gradpress
