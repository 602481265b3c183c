// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Selector must provide, and the sentence a user reads when it does not.

#include <gradpress/core/kind.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/core/state.hpp>

#include <concepts>
#include <utility>

namespace gradpress {

/// Where a selection's support comes from. Only `own` sends indices.
enum class support {
  all,     ///< every entry
  shared,  ///< from the shared key: equal on all ranks, so values add up without indices
  own      ///< from this rank's data or key
};

/// A selector together with what it keeps of one tensor: has the calls of a selector that keeps nothing.
template <class S, class Exec>
class selector_at_work {
  S const* use_;
  state_of<S, Exec>* state_;

 public:
  selector_at_work(S const& s, state_of<S, Exec>& state) : use_(&s), state_(&state) {}
#define GRADPRESS_WITH_STATE(call)                                                                         \
  template <class... A, class T = S>                                                                       \
  auto call(A&&... a) const->decltype(static_cast<T const*>(use_)->call(std::forward<A>(a)..., *state_)) { \
    return use_->call(std::forward<A>(a)..., *state_);                                                     \
  }
  GRADPRESS_WITH_STATE(select)
  GRADPRESS_WITH_STATE(select_values)
  GRADPRESS_WITH_STATE(select_fresh)
  GRADPRESS_WITH_STATE(select_sum)
  GRADPRESS_WITH_STATE(select_formed)
#undef GRADPRESS_WITH_STATE
};
/// What a coder calls: S itself, or S with its state.
template <class S, class Exec>
using working = std::conditional_t<keeps_state<S>, selector_at_work<S, Exec>, S>;
template <class S, class Exec>
working<S, Exec> const at_work(S const& s, state_of<S, Exec>& state) {
  if constexpr (keeps_state<S>)
    return selector_at_work<S, Exec>(s, state);
  else
    return s;
}

namespace concepts {
/// Form, not placement, is checked: one space stands for all.
using probe = Kokkos::DefaultHostExecutionSpace;

template <class T>
concept void_or_bool = std::same_as<T, void> || std::same_as<T, bool>;

template <class S>
concept has_where = requires {
  { S::where } -> std::convertible_to<support>;
};
template <class S>
concept has_fixed_size = requires {
  { S::fixed_size } -> std::convertible_to<bool>;
};
template <class S>
concept has_max_kept = requires(S const s) {
  { s.max_kept(std::size_t{}) } -> std::same_as<std::size_t>;
};
template <class S>
concept has_select = requires(working<S, probe> const s, step<probe> const& ctx, in<probe> x, selection<probe>& kept) {
  { s.select(ctx, x, kept) } -> void_or_bool;
};
template <class S>
concept has_select_values = requires(working<S, probe> const s, step<probe> const& ctx, in<probe> x,
                                     selection<probe>& kept, view<probe> values) {
  { s.select_values(ctx, x, kept, values) } -> std::same_as<bool>;
};
template <class S>
concept has_select_fresh = requires(working<S, probe> const s, step<probe> const& ctx, in<probe> a, in<probe> g,
                                    selection<probe>& kept, view<probe> values) {
  { s.select_fresh(ctx, a, g, kept, values) } -> std::same_as<bool>;
};
template <class S>
concept moves_with_steps = !keeps_state<S> || requires(state_of<S, probe> & state) {
  state.commit();
  state.undo();
};
template <class P>
concept has_name = requires {
  { P::name } -> std::convertible_to<std::string_view>;
};
}  // namespace concepts

/// A selector that says itself what is sent at the entries that it keeps, instead of the coefficients themselves.
template <class S>
inline constexpr bool writes_values = concepts::has_select_values<S> || concepts::has_select_fresh<S>;
/// A selector that looks at the gradient of this step beside the signal.
template <class S>
inline constexpr bool wants_fresh = concepts::has_select_fresh<S>;

/// A selector whose support one rank chooses and tells the others before values travel.
template <class S>
concept leading = requires(S const s, step<concepts::probe> const& ctx) {
  { s.leader(ctx) } -> std::same_as<int>;
};

/// A Selector decides which coefficients are sent.
///
/// With `s` a const value, `ctx` a `step`, `x` a view of n coefficients, `kept` a selection with room for max_kept(n):
///
/// | expression                | result       | means                                                                |
/// |---------------------------|--------------|----------------------------------------------------------------------|
/// | `typename S::family`      | type         | `family::selector`                                                   |
/// | `S::name`                 | string view  | in the text form and the digest                                      |
/// | `S::where`                | `support`    | does the support depend on data or rank?                             |
/// | `S::fixed_size`           | `bool`       | is count == max_kept(n) always?                                      |
/// | `s.max_kept(n)`           | size_t       | bound on the count; exact if fixed_size                              |
/// | `s.select(ctx, x, kept)`  | void or bool | writes ascending distinct indices and the count; bool: false says that x holds NaN or infinity and saves the library a pass |
/// | `s.select_values(ctx, x, kept, values)` | bool | instead of `select`: writes the values that are sent too, where they are not x[kept] (x/p of an unbiased sparsifier); false: x is not finite |
/// | `s.select_fresh(ctx, a, g, kept, values)` | bool | instead of both: sees the signal a and the gradient g of this step; not behind a projector |
/// | `s.leader(ctx)`           | int          | optional, with `where == shared`: `select` runs on that rank alone and may look at x; the others receive the support in a message of its own, one phase before |
/// | `typename S::code`        | type         | optional: the quantizer that `compress_with` takes if none is named; any other stays legal |
/// | `S::knobs`                | tuple        | optional: its public numbers                                         |
/// | `s.select_sum(ctx, g, e, a, kept, values)` | bool | optional, one pass over memory: a = g + e, kept = select(a), values = a[kept]; false: a is not finite |
/// | `s.select_formed(ctx, form, a, kept, values)` | bool | optional, the same of any signal: `form`, a `kernel::forming`, makes its elements [from, to), which go to a |
/// | `S::state<Exec>`          | type         | optional: what it keeps between steps; all the calls above then take `state&` as their last argument and write nothing but tentative fields; `state.commit()` when the step stands, `state.undo()` at a rollback |
///
/// With `where == shared` and no leader, `select` must not look at x, and its state is equal on all ranks; else it is this
/// rank's own. Behind a projector of several rounds the last one's coefficients are remembered, and earlier rounds start
/// from a state just made. Laws: test/concepts/selector_laws.hpp.
template <class S>
concept selector = std::semiregular<S> && concepts::has_name<S> && concepts::has_where<S> &&
    concepts::has_fixed_size<S> && concepts::has_max_kept<S> && concepts::moves_with_steps<S> &&
    (concepts::has_select<S> || writes_values<S>);

/// Fails to compile with one plain sentence about the first thing that S lacks.
template <class S>
consteval bool explain_selector() {
  if constexpr (!std::semiregular<S>)
    static_assert(always_false<S>, "Selector: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<S>)
    static_assert(always_false<S>, "Selector: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_where<S>)
    static_assert(always_false<S>, "Selector: needs 'static constexpr support where' (all, shared or own).");
  else if constexpr (!concepts::has_fixed_size<S>)
    static_assert(always_false<S>, "Selector: needs 'static constexpr bool fixed_size'.");
  else if constexpr (!concepts::has_max_kept<S>)
    static_assert(always_false<S>, "Selector: needs 'std::size_t max_kept(std::size_t n) const'.");
  else if constexpr (!concepts::has_select<S> && !writes_values<S>)
    static_assert(always_false<S>,
                  "Selector: needs 'void select(ctx, x, kept) const' for any execution space; with 'state' a last "
                  "argument 'state<Exec>&'.");
  else if constexpr (!concepts::moves_with_steps<S>)
    static_assert(always_false<S>, "Selector: its 'state' needs 'commit()' and 'undo()', or rollback is wrong.");
  return selector<S>;
}

}  // namespace gradpress
