// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A method around a compressor: each rank sends its gradient, or how it differs from what is known of it, whichever code
/// loses less.

#include <gradpress/method/predictive_coder.hpp>

namespace gradpress {

/// The knobs of `ef21_plus`. As a prediction: from one past gradient, with the coefficient 1 or 0.
struct keep_or_restart {
  int check_every = 100;  ///< steps between comparisons of the histories; 0 for never
  int resync = 0;         ///< another number, on all ranks: what is known is forgotten, and all restart

  static constexpr std::string_view name = "ef21_plus";
  static constexpr bool fits = false;
  static constexpr int order = 1;
  static constexpr auto knobs = std::tuple{knob{"check_every", &keep_or_restart::check_every, shown::if_changed},
                                           knob{"resync", &keep_or_restart::resync, shown::if_changed}};

  void check() const {
    if (check_every < 0)
      throw configuration_error("ef21_plus: check_every must be 0 or more, it is " + number_text(check_every));
  }
  /// Are histories compared in step t? Alike on all ranks.
  [[nodiscard]] bool checks(std::uint64_t t) const { return temporal_prediction{.check_every = check_every}.checks(t); }
};

namespace detail {
template <class Code>
consteval bool explain_compared(Code const*) {
  static_assert(always_false<Code>, "ef21_plus: goes around one method that compress_with makes.");
  return false;
}
/// Fails to compile with one plain sentence about the first thing that keeps two codes of C from being compared.
template <class Pr, class S, class Q, class F, class X, class I>
consteval bool explain_compared(compressor<Pr, S, Q, F, X, I> const*) {
  if constexpr (!keeps_coordinates<Pr>)
    static_assert(always_false<Pr>, "ef21_plus: codes are compared element by element; leave the projector out.");
  else if constexpr (S::where == support::shared || writes_values<S>)
    static_assert(always_false<S>,
                  "ef21_plus: the better of two codes is sent, so nothing may be drawn or led; use a selector that "
                  "looks at this rank's values alone and sends them as they are, such as top_k.");
  else if constexpr (keeps_state<S>)
    static_assert(always_false<S>,
                  "ef21_plus: the code is not told which steps stand; use a selector that remembers nothing, such as "
                  "top_k.");
  else if constexpr (agreeing<Q>)
    static_assert(always_false<Q>,
                  "ef21_plus: codes must be decoded one by one; use a quantizer that agrees on nothing, such as sign.");
  else if constexpr (remembers<F>)
    static_assert(always_false<F>,
                  "ef21_plus: what the code loses is in the next difference already; leave the feedback out.");
  else if constexpr (!std::same_as<X, resolved_exchange<by_kind, kind_of<Pr, S, Q, I>, false>>)
    static_assert(always_false<X>,
                  "ef21_plus: the code has no exchange of its own; name it as ef21_plus's third argument.");
  else
    return true;
  return false;
}
/// Fails to compile with one plain sentence if X does not bring every message, as it was sent, to whoever adds them.
template <class X>
consteval bool explain_way_of_compared() {
  static_assert(brings_whole_messages<X>,
                "ef21_plus: needs an exchange that brings whole messages, all_gather or parameter_server.");
  return brings_whole_messages<X>;
}
}  // namespace detail

/// EF21+: of each rank i the others know an estimate G_i of its gradient g; in each step the rank sends the code of g or
/// of g - G_i, and a bit that says which, so that the new G_i is C(g) or G_i + C(g - G_i), whichever is nearer to g. The
/// update is the mean of the G_i.
///
///     gp::ef21_plus(gp::compress_with(gp::top_k{.density = 0.01}))
///
/// - Code       selector, quantizer and index code, each message decodable by itself, with a support that is not drawn; no
///              projector, feedback, exchange. It should be deterministic: of random codes the luckier one is sent.
/// - State      all_gather: 2 P n floats on every rank; parameter_server: the root alone has so much. And 3 n of
///              workspace, and a second message.
/// - Cost       two encodings a step, and what each loses, which takes two passes over the gradient each.
/// - Start      nothing is known: C(g). A tie restarts, too, so that a code that loses nothing gives the exact mean.
/// - Network    4 bytes beside the message of the code, 8 more every `check_every` steps.
/// - Drift      as with `predictive`: found by checksums, fails the step on all ranks; `resync` starts over.
/// - Bias       biased.
/// - Source     P. Richtarik, I. Sokolov, I. Fatkhullin, EF21, NeurIPS 2021 (arXiv 2106.05203), EF21+. Differs: starts
///              from C(g); a tie restarts; gathered unless a server is named.
template <class Code, class X = all_gather>
constexpr auto ef21_plus(Code code, keep_or_restart how = {}, X exchange = {}) {
  if constexpr (detail::explain_compared(static_cast<Code const*>(nullptr)) && explain_exchange<X>())
    if constexpr (detail::explain_way_of_compared<X>())
      return predictive_method<Code, X, keep_or_restart>{code, how, exchange};
}

}  // namespace gradpress
