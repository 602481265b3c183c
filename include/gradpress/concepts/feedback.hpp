// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Feedback must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/state.hpp>

namespace gradpress {

/// What a memory promises; the law tests ask for it.
enum class memory_law {
  none,      ///< forgets what was not delivered, if it remembers anything
  additive,  ///< sum of signals = P * update + sum of memories
  mirrored,  ///< the mirror, equal on all ranks, is the mean of what each rank keeps
  fading     ///< keeps of what was not delivered a part, or rounded: its own page says what holds
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
template <class F>
concept has_apply = requires(F const f, step<probe> const& ctx, view<probe> update, state_of<F, probe>& s) {
  f.apply(ctx, update, s);
};
template <class F>
concept has_undo = requires(F const f, buffer<probe>& rest, state_of<F, probe>& s) {
  f.undo(rest, s);
};
template <class F>
concept has_rescale = requires(F const f, step<probe> const& ctx, float ratio, state_of<F, probe>& s) {
  { f.in_model_units() } -> std::same_as<bool>;
  { f.rescale(ctx, ratio, s) } -> std::same_as<bool>;
};
}  // namespace concepts

/// Does this Feedback remember what was delivered? Otherwise nothing of this rank's own is ever decoded.
template <class F>
inline constexpr bool remembers = F::law != memory_law::none;

/// A memory that can be nothing but what was left, and may then lag behind by a product of two factors, which the coder
/// remembers for it until somebody reads it.
template <class F>
inline constexpr bool can_owe = requires(F const f) {
  { f.may_owe() } -> std::same_as<bool>;
};
/// A memory that can be in units of the model: it follows the learning rate.
template <class F>
inline constexpr bool can_follow_rate = concepts::has_rescale<F>;

/// A Feedback is the memory: what to add before compressing, what to keep afterwards.
///
/// | expression                            | result       | means                                                          |
/// |---------------------------------------|--------------|----------------------------------------------------------------|
/// | `typename F::family`, `F::name`       |              | `family::feedback`; in the text form and the digest            |
/// | `F::law`                              | `memory_law` | which promise the tests hold it to                             |
/// | `f.compensate(ctx, g, state, room)`   | in<Exec>     | the signal a: `room`, or g itself; must not change state but for tentative fields, which `visit` leaves out, and one of which may be the signal, too: without deliveries to remember there is no room |
/// | `f.keep(ctx, g, rest, state)`         | void         | at the commit, if it remembers: `rest` is the signal less what was delivered of it; a buffer that may be swapped into the state, since the coder only needs some buffer back |
/// | `f.keep_at(ctx, g, rest, at, state)`  | void         | optional: the same, where `rest` can differ from the signal at the positions `at` alone |
/// | `f.addend(state)`                     | buffer       | optional: the signal is g + addend; permits the fused hooks    |
/// | `f.form(ctx, g, state)`               | callable     | optional, for what is no such sum: makes the signal piece by piece, see `kernel::forming`: together the bits, also of tentative fields, that `compensate` writes; permits the hooks of selectors |
/// | `f.may_owe()`                         | bool         | optional, with `addend`: by its knobs, `keep` does nothing but swap; projectors may then defer what leaves the memory |
/// | `f.apply(ctx, update, state)`         | void         | optional, at the commit: may replace the mean update, or make tentative fields stand |
/// | `f.undo(rest, state)`                 | void         | takes the last `keep` and `apply` back; with either of them    |
/// | `f.in_model_units()`                  | bool         | optional: by its knobs, what it keeps is to follow the learning rate |
/// | `f.rescale(ctx, ratio, state)`        | bool         | with that: multiplies what it keeps by the old rate over the new one; false, and unchanged, if that is not finite |
template <class F>
concept feedback = std::semiregular<F> && concepts::has_name<F> && concepts::has_law<F> &&
    concepts::has_compensate<F> &&
    (!remembers<F> || concepts::has_keep<F>)&&(!concepts::has_apply<F> || concepts::has_undo<F>);

/// Fails to compile with one plain sentence about the first thing that F lacks.
template <class F>
consteval bool explain_feedback() {
  if constexpr (!std::semiregular<F>)
    static_assert(always_false<F>, "Feedback: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<F>)
    static_assert(always_false<F>, "Feedback: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_law<F>)
    static_assert(always_false<F>,
                  "Feedback: needs 'static constexpr memory_law law' (none, additive, mirrored or fading).");
  else if constexpr (!concepts::has_compensate<F>)
    static_assert(always_false<F>,
                  "Feedback: needs 'in<Exec> compensate(ctx, g, state, room) const' for any execution space.");
  else if constexpr (F::law != memory_law::none && !concepts::has_keep<F>)
    static_assert(always_false<F>, "Feedback: with a memory it needs 'void keep(ctx, g, rest, state) const'.");
  else if constexpr (concepts::has_apply<F> && !concepts::has_undo<F>)
    static_assert(always_false<F>,
                  "Feedback: with 'apply' it needs 'void undo(rest, state) const', or rollback is wrong.");
  return feedback<F>;
}

}  // namespace gradpress
