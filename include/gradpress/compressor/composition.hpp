// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What follows, at compile time, from the policies that a method is composed of: what its step needs not do, and which
/// optional hooks of one policy fit the others.

#include <gradpress/compressor/method.hpp>
#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/forming.hpp>

namespace gradpress::detail {

template <class Exec, class M>
struct composition;

/// Of a compressor, over an execution space.
template <class Exec, class Pr, class S, class Q, class F, class X, class I>
struct composition<Exec, compressor<Pr, S, Q, F, X, I>> {
  using context = step<Exec>;
  using memory_state = state_of<F, Exec>;
  using basis_state = state_of<Pr, Exec>;

  static constexpr int steps = steps_of<S, Q>;             ///< phases a round
  static constexpr bool direct = keeps_coordinates<Pr>;    ///< coefficients are elements of the signal
  static constexpr bool dense = S::where == support::all;  ///< all of them are sent
  static constexpr bool has_memory = remembers<F>;         ///< and wants to know what was delivered
  static constexpr bool has_addend = requires(F const& f, memory_state& s) { f.addend(s); };
  static constexpr bool chunked = chunks_tensors<X>;
  static constexpr bool merges = kind_of<Pr, S, Q, I>.combines == combination::merge;
  /// May the whole signal travel instead, as floats that add up?
  static constexpr bool can_go_dense = (direct && weighs_dense<X>) || takes_courses<Pr>;

  /// May the memory be told where alone something was sent?
  static constexpr bool keeps_by_position =
      direct && !dense && has_memory &&
      requires(F const& f, context const& ctx, in<Exec> g, buffer<Exec>& r, in<Exec, index_t> at, memory_state& s) {
    f.keep_at(ctx, g, r, at, s);
  };

  // One pass over memory in place of several, where a policy offers it.

  static constexpr bool fuses_select =
      direct && !dense && has_memory && has_addend &&
      requires(working<S, Exec> const& s, context const& ctx, in<Exec> v, view<Exec> w, selection<Exec>& k) {
    { s.select_sum(ctx, v, v, w, k, w) } -> std::same_as<bool>;
  };
  static constexpr bool fuses_form = direct && !dense && has_memory && !fuses_select &&
                                     requires(F const& f, working<S, Exec> const& s, context const& ctx, in<Exec> v,
                                              memory_state& m, view<Exec> w, selection<Exec>& k) {
    { s.select_formed(ctx, kernel::forming(f.form(ctx, v, m)), w, k, w) } -> std::same_as<bool>;
  };
  static constexpr bool encodes_sums =
      requires(Q const& q, context const& ctx, in<Exec> v, view<Exec> w, bytes<Exec> b) {
    { q.encode_sum(ctx, v, v, w, b) } -> std::same_as<bool>;
  };
  static constexpr bool agrees_on_sums =
      requires(Q const& q, context const& ctx, in<Exec> v, view<Exec> w, bytes<Exec> b) {
    { q.propose_sum(ctx, v, v, w) } -> std::same_as<bool>;
    q.encode_sum(ctx, v, v, v, w, b);
  };
  static constexpr bool fuses_quantize =
      direct && dense && has_memory && has_addend && (agreeing<Q> ? agrees_on_sums : encodes_sums);
  static constexpr bool fuses_project =
      !direct && has_memory && has_addend &&
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, view<Exec> w, basis_state& s) {
    { p.project_sum(ctx, d, v, v, w, s, w) } -> std::same_as<bool>;
  };

  /// May the memory owe what was delivered, as a product of two factors, until somebody reads it?
  static constexpr bool defers =
      fuses_project && can_owe<F> &&
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, view<Exec> w, basis_state& s) {
    p.owes(d);
    { p.project_owed(ctx, d, v, v, v, v, w, s, w) } -> std::same_as<bool>;
  };
  /// Does a step that sends the whole signal move what the projector keeps?
  static constexpr bool hears_of_whole =
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, basis_state& s) {
    p.commit_whole(ctx, d, v, s);
  };
};

}  // namespace gradpress::detail
