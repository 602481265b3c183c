// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A method around a compressor: each rank predicts its gradient from its last ones, and sends what the prediction lacks
/// only where it lacks much.

#include <gradpress/method/predictive_coder.hpp>

namespace gradpress {

namespace detail {
template <class Code>
consteval bool explain_predicted(Code const*) {
  static_assert(always_false<Code>, "predictive: goes around one method that compress_with makes.");
  return false;
}
/// Fails to compile with one plain sentence about the first thing that keeps C from coding residuals.
template <class Pr, class S, class Q, class F, class X, class I>
consteval bool explain_predicted(compressor<Pr, S, Q, F, X, I> const*) {
  if constexpr (!keeps_coordinates<Pr>)
    static_assert(always_false<Pr>, "predictive: residuals are coded element by element; leave the projector out.");
  else if constexpr (leading<S>)
    static_assert(always_false<S>,
                  "predictive: each rank is silent by itself; use a selector that no rank leads, such as top_k.");
  else if constexpr (keeps_state<S>)
    static_assert(always_false<S>,
                  "predictive: the code is not told which steps stand; use a selector that remembers nothing, such as "
                  "top_k.");
  else if constexpr (agreeing<Q>)
    static_assert(always_false<Q>,
                  "predictive: codes must be decoded one by one; use a quantizer that agrees on nothing, such as "
                  "stochastic_int.");
  else if constexpr (remembers<F>)
    static_assert(always_false<F>,
                  "predictive: what the code loses is in the next residual already; leave the feedback out.");
  else if constexpr (!std::same_as<X, resolved_exchange<by_kind, kind_of<Pr, S, Q, I>, false>>)
    static_assert(always_false<X>,
                  "predictive: the code has no exchange of its own; name it as predictive's third argument.");
  else
    return true;
  return false;
}
/// Fails to compile with one plain sentence if X does not bring every message, as it was sent, to whoever adds them.
template <class X>
consteval bool explain_way() {
  static_assert(brings_whole_messages<X>,
                "predictive: needs an exchange that brings whole messages, all_gather or parameter_server.");
  return brings_whole_messages<X>;
}
}  // namespace detail

/// Each rank predicts its gradient g as a combination of its own last p reconstructed gradients, by least squares, and
/// sends the coefficients; where the residual r = g - prediction is longer than a threshold it sends r by `code`, too.
/// What others make of it, prediction + decoded r, is this step's reconstructed gradient; the update is their mean.
///
///     gp::predictive(gp::compress_with(gp::top_k{.density = 0.01}), {.order = 2, .threshold = 0.2})
///
/// - Code       selector, quantizer and index code, each message decodable by itself; no projector, feedback, exchange.
/// - State      all_gather: every rank keeps every rank's history, P (p + 1) n floats; parameter_server: the root alone
///              does so, the others keep their own. And n of workspace.
/// - Start      nothing is known, so the residual is g and is sent whatever the threshold.
/// - Memory     what the code leaves out of the estimate is in the next residual, since predictions are made from
///              reconstructed gradients; what an update lacked is not added to a later one.
/// - Network    a silent rank sends 4 + 4 p bytes beside what the exchange adds to a letter: 44 for all_gather.
/// - Drift      every `check_every` steps of the reducer a message holds the checksum of its sender's history; who mirrors
///              another one fails the step on all ranks. `resync` starts over.
/// - Bias       biased, unless all residuals are sent by an unbiased code.
/// - Source     A. Edin, Z. Chen, M. Kieffer, M. Johansson, Temporal Predictive Coding for Gradient Compression in
///              Distributed Learning, arXiv 2410.02478. Differs: any code, and gathered unless a server is named.
template <class Code, class X = all_gather>
constexpr auto predictive(Code code, temporal_prediction how = {}, X exchange = {}) {
  if constexpr (detail::explain_predicted(static_cast<Code const*>(nullptr)) && explain_exchange<X>())
    if constexpr (detail::explain_way<X>()) return predictive_method<Code, X>{code, how, exchange};
}

}  // namespace gradpress
