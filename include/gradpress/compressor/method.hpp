// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A method is one policy of each family; what its messages are follows from them.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/concepts/feedback.hpp>
#include <gradpress/concepts/method.hpp>
#include <gradpress/concepts/projector.hpp>
#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/encode/message.hpp>

#include <string>

namespace gradpress {

/// What messages of this composition are, computed from the policies.
///
/// Sums need linear coefficients on a common support and codes that add; merging needs floats on each rank's own
/// support, where it lies.
template <class Pr, class S, class Q, class I = raw_index>
inline constexpr message_kind kind_of = [] {
  using adds_as = typename Q::adds_as;
  message_kind k{.combines = combination::nothing,
                 .fixed_size = S::fixed_size,
                 .dense = S::where == support::all && Pr::linear,
                 .agreed = agreeing<Q>,
                 .linear = Pr::linear,
                 .votes = casts_votes<Q>};
  if constexpr (is_wire_scalar<adds_as> && Pr::linear) {
    if constexpr (S::where != support::own) {
      k.combines = combination::sum;
      k.element = scalar_of<adds_as>;
    } else if constexpr (std::same_as<adds_as, float> && !agreeing<Q> && leaves_indices_raw<I>) {
      k.combines = combination::merge;
    }
  }
  return k;
}();

/// Phases a round: the leader's support, what quantizers agree on, the values.
template <class S, class Q>
inline constexpr int steps_of = (leading<S> ? 1 : 0) + (agreeing<Q> ? 1 : 0) + 1;

/// One method: a value, equal on all ranks. Made by `compress_with`.
template <class Pr, class S, class Q, class F, class X, class I = raw_index>
struct compressor {
  Pr projector;
  S selector;
  Q quantizer;
  F feedback;
  X exchange;
  I indices{};

  static constexpr message_kind kind = kind_of<Pr, S, Q, I>;
  static constexpr method_facts facts{.leads = leading<S>,
                                      .agrees = agreeing<Q>,
                                      .weighs = weighs_dense<X> && gradpress::keeps_coordinates<Pr>,
                                      .goes_whole = takes_courses<Pr>,
                                      .keeps_coordinates = gradpress::keeps_coordinates<Pr>};
  /// "low_rank(rank=2)|all|none|error_feedback|all_reduce": what ranks compare and statistics show.
  [[nodiscard]] std::string text() const {
    return detail::joined({describe(projector), describe(selector), describe(quantizer), describe(feedback),
                           describe(exchange), leaves_indices_raw<I> ? std::string() : describe(indices)});
  }
};

template <class M>
inline constexpr bool is_compressor = false;
template <class Pr, class S, class Q, class F, class X, class I>
inline constexpr bool is_compressor<compressor<Pr, S, Q, F, X, I>> = true;

namespace detail {
template <class P>
void check_knobs_of(P const& p) {
  if constexpr (requires { p.check(); }) p.check();
}
}  // namespace detail
/// Throws `configuration_error` about the first policy whose knobs are out of range.
template <class Pr, class S, class Q, class F, class X, class I>
void check_knobs(compressor<Pr, S, Q, F, X, I> const& m) {
  detail::check_knobs_of(m.projector), detail::check_knobs_of(m.selector), detail::check_knobs_of(m.quantizer);
  detail::check_knobs_of(m.feedback), detail::check_knobs_of(m.exchange), detail::check_knobs_of(m.indices);
}

}  // namespace gradpress
