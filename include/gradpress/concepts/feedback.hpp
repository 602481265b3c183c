// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Feedback must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/state.hpp>

namespace gradpress {

/// What a memory promises; the law tests ask for it.
enum class memory_law {
  none,      ///< forgets what was not delivered
  additive,  ///< sum of signals = P * update + sum of memories
  mirrored   ///< the mirror, equal on all ranks, is the mean of what each rank keeps
};

namespace concepts {
template <class F>
concept has_law = requires {
  { F::law } -> std::convertible_to<memory_law>;
};
template <class F>
concept has_compensate = requires(F const f, step<probe> const& ctx, in<probe> g, state_of<F, probe>& s,
                                  view<probe> room) {
  { f.compensate(ctx, g, s, room) } -> std::same_as<in<probe>>;
};
template <class F>
concept has_keep = requires(F const f, step<probe> const& ctx, in<probe> g, buffer<probe>& rest,
                            state_of<F, probe>& s) {
  f.keep(ctx, g, rest, s);
};
}  // namespace concepts

/// Does this Feedback have a memory at all? Without one nothing of this rank's own is ever decoded.
template <class F>
inline constexpr bool remembers = F::law != memory_law::none;

/// A memory that is told what was delivered, and counts on the update being the mean of that. Those that merely prepare
/// the signal, such as a momentum, say no.
template <class F>
inline constexpr bool counts_on_mean = remembers<F> && !requires {
  requires !F::counts_on_mean;
};

/// A memory that is nothing but what was left, and may lag behind by a product of two factors, which the coder remembers
/// for it until somebody reads it.
template <class F>
inline constexpr bool may_owe = requires {
  requires F::may_owe;
};

/// A Feedback is the memory: what to add before compressing, what to keep afterwards.
///
/// | expression                            | result       | means                                                          |
/// |---------------------------------------|--------------|----------------------------------------------------------------|
/// | `typename F::family`, `F::name`       |              | `family::feedback`; in the text form and the digest            |
/// | `F::law`                              | `memory_law` | which promise the tests hold it to                             |
/// | `f.compensate(ctx, g, state, room)`   | in<Exec>     | the signal a: `room`, or g itself; must not change state       |
/// | `f.keep(ctx, g, rest, state)`         | void         | at the commit, if it remembers: `rest` is the signal less what was delivered of it; a buffer that may be swapped into the state, since the coder only needs some buffer back |
/// | `f.addend(state)`                     | buffer       | optional: the signal is g + addend; permits the fused hooks    |
/// | `F::may_owe`                          | bool         | optional, with `addend`: `keep` does nothing but swap; projectors may then defer what leaves the memory |
/// | `F::counts_on_mean`                   | bool         | optional: false if it does not care whether the update is the mean |
/// | `f.apply(ctx, update, state)`         | void         | optional, at the commit: may replace the mean update           |
/// | `f.undo(rest, state)`                 | void         | takes the last `keep` and `apply` back; if it remembers        |
template <class F>
concept feedback = std::semiregular<F> && concepts::has_name<F> && concepts::has_law<F> &&
    concepts::has_compensate<F> &&(!remembers<F> || concepts::has_keep<F>);

/// Fails to compile with one plain sentence about the first thing that F lacks.
template <class F>
consteval bool explain_feedback() {
  if constexpr (!std::semiregular<F>)
    static_assert(always_false<F>, "Feedback: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<F>)
    static_assert(always_false<F>, "Feedback: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_law<F>)
    static_assert(always_false<F>, "Feedback: needs 'static constexpr memory_law law' (none, additive or mirrored).");
  else if constexpr (!concepts::has_compensate<F>)
    static_assert(always_false<F>,
                  "Feedback: needs 'in<Exec> compensate(ctx, g, state, room) const' for any execution space.");
  else if constexpr (F::law != memory_law::none && !concepts::has_keep<F>)
    static_assert(always_false<F>, "Feedback: with a memory it needs 'void keep(ctx, g, rest, state) const'.");
  return feedback<F>;
}

}  // namespace gradpress
