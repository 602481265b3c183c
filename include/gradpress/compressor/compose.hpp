// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Policies in any order become a method, or one plain sentence of the compiler.

#include <gradpress/compressor/method.hpp>
#include <gradpress/exchange/by_kind.hpp>
#include <gradpress/feedback/none.hpp>
#include <gradpress/project/identity.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/select/all.hpp>

namespace gradpress {

namespace detail {
template <class Family, class P>
concept of_family = policy<P> && std::same_as<typename P::family, Family>;

template <class Family, class Default>
constexpr auto pick(Default fallback) {
  return fallback;
}
template <class Family, class Default, class P, class... Rest>
constexpr auto pick(Default fallback, P first, Rest... rest) {
  if constexpr (of_family<Family, P>)
    return first;
  else
    return pick<Family>(fallback, rest...);
}
/// What codes the values of S where nobody names a quantizer.
template <class S>
constexpr auto default_quantizer(S) {
  if constexpr (requires { typename S::code; })
    return typename S::code{};
  else
    return unquantized{};
}
template <class Family, class... P>
inline constexpr int count_of_family = (0 + ... + (of_family<Family, P> ? 1 : 0));
template <class... P>
inline constexpr bool one_of_each =
    count_of_family<family::projector, P...> <= 1 && count_of_family<family::selector, P...> <= 1 &&
    count_of_family<family::quantizer, P...> <= 1 && count_of_family<family::feedback, P...> <= 1 &&
    count_of_family<family::exchange, P...> <= 1 && count_of_family<family::index_code, P...> <= 1;

/// Fails to compile with one plain sentence if S sends no indices that I could code.
template <class S, class I>
consteval bool explain_indices() {
  static_assert(leaves_indices_raw<I> || S::where == support::own || leading<S>,
                "compress_with: an index code needs a selector with its own support, such as top_k; this composition "
                "sends no indices.");
  return leaves_indices_raw<I> || S::where == support::own || leading<S>;
}
/// Fails to compile with one plain sentence if X delivers, or keeps, what the other policies cannot make sense of.
template <class X, class Pr, class F>
consteval bool explain_delivery() {
  static_assert(
      !keeps_coefficients<X> || keeps_coordinates<Pr>,
      "compress_with: this exchange remembers coefficients from step to step, and behind a projector they mean "
      "something else in each; use it without a projector, or without its memory.");
  static_assert(delivers_mean<X> || !remembers<F>,
                "compress_with: this exchange delivers no mean of what the ranks sent, so a memory cannot know what is "
                "missing; use it without a memory, or with one that remembers no delivery, such as local_momentum.");
  static_assert(delivers_mean<X> || keeps_coordinates<Pr>,
                "compress_with: this exchange delivers no mean of what the ranks sent, element by element; use it "
                "without a projector.");
  return (!keeps_coefficients<X> || keeps_coordinates<Pr>)&&(delivers_mean<X> ||
                                                             (!remembers<F> && keeps_coordinates<Pr>));
}
/// Fails to compile with one plain sentence if S compares entries of the gradient with coefficients of something else.
template <class Pr, class S>
consteval bool explain_fresh() {
  static_assert(!wants_fresh<S> || keeps_coordinates<Pr>,
                "compress_with: this selector compares the signal with the gradient entry by entry; use it without a "
                "projector.");
  return !wants_fresh<S> || keeps_coordinates<Pr>;
}
}  // namespace detail

/// Composes policies, in any order, into a method. What is left out is the identity of its family; the exchange is
/// chosen from the message kind, and a selector may bring a quantizer of its own. An illegal pair fails to compile with
/// one plain sentence.
template <class... P>
constexpr auto compress_with(P... p) {
  static_assert((policy<P> && ...),
                "compress_with: every argument must be a policy, with 'using family = family::selector' or a sibling.");
  static_assert(detail::one_of_each<P...>, "compress_with: two policies of the same family; keep one.");
  if constexpr ((policy<P> && ...) && detail::one_of_each<P...>) {
    auto const projector = detail::pick<family::projector>(identity{}, p...);
    auto const selector = detail::pick<family::selector>(select_all{}, p...);
    auto const quantizer = detail::pick<family::quantizer>(detail::default_quantizer(selector), p...);
    auto const memory = detail::pick<family::feedback>(no_feedback{}, p...);
    auto const wanted = detail::pick<family::exchange>(by_kind{}, p...);
    auto const indices = detail::pick<family::index_code>(raw_index{}, p...);
    using Pr = std::remove_const_t<decltype(projector)>;
    using S = std::remove_const_t<decltype(selector)>;
    using Q = std::remove_const_t<decltype(quantizer)>;
    using F = std::remove_const_t<decltype(memory)>;
    using Wanted = std::remove_const_t<decltype(wanted)>;
    using I = std::remove_const_t<decltype(indices)>;
    if constexpr (explain_projector<Pr>() && explain_selector<S>() && explain_quantizer<Q>() && explain_feedback<F>() &&
                  explain_index_code<I>() && detail::explain_indices<S, I>() && detail::explain_fresh<Pr, S>()) {
      constexpr auto kind = kind_of<Pr, S, Q, I>;
      using X = resolved_exchange<Wanted, kind, remembers<F>>;
      if constexpr (explain_exchange<X>() && explain_pair<X, kind>() && detail::explain_delivery<X, Pr, F>()) {
        if constexpr (std::same_as<X, Wanted>)
          return compressor<Pr, S, Q, F, X, I>{projector, selector, quantizer, memory, wanted, indices};
        else
          return compressor<Pr, S, Q, F, X, I>{projector, selector, quantizer, memory, X{}, indices};
      }
    }
  }
}

}  // namespace gradpress
