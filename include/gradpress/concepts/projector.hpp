// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Projector must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/state.hpp>

namespace gradpress {

/// What a projector does in the step that begins.
struct course {
  int rounds = 1;      ///< dependent exchanges
  bool whole = false;  ///< instead, the signal travels as it is: floats that add up, in one round; memories end empty
};

namespace concepts {
template <class P>
concept has_rounds = requires {
  { P::rounds } -> std::convertible_to<int>;
};
template <class P>
concept has_linear = requires {
  { P::linear } -> std::convertible_to<bool>;
};
template <class P>
concept has_coefficients = requires(P const p) {
  { p.coefficients(shape{}, 0) } -> std::same_as<std::size_t>;
};
template <class P>
concept has_project = requires(P const p, step<probe> const& ctx, in<probe> a, state_of<P, probe>& s,
                               view<probe> room) {
  { p.project(ctx, shape{}, 0, a, s, room) } -> std::same_as<in<probe>>;
};
template <class P>
concept has_lift = requires(P const p, step<probe> const& ctx, in<probe> c, state_of<P, probe>& s, view<probe> room) {
  { p.lift(ctx, shape{}, c, s, room) } -> std::same_as<in<probe>>;
};
template <class P>
concept has_accept = requires(P const p, step<probe> const& ctx, in<probe> mean, state_of<P, probe>& s) {
  p.accept(ctx, shape{}, 0, mean, s);
};
template <class P>
concept has_course = requires(P const p, step<probe> const& ctx, state_of<P, probe>& s) {
  { p.begin(ctx, shape{}, s) } -> std::same_as<course>;
};
}  // namespace concepts

/// A projector whose rounds, or the tensors that it compresses at all, change from step to step.
template <class P>
concept takes_courses = concepts::has_course<P>;

/// A projector whose coefficients are the tensor's own elements, in order. Nothing is copied and nothing is lifted.
template <class P>
concept keeps_coordinates = requires {
  requires P::keeps_coordinates;
};

/// A Projector changes the representation before anything is selected.
///
/// | expression                                       | result   | means                                                   |
/// |--------------------------------------------------|----------|---------------------------------------------------------|
/// | `typename P::family`, `P::name`                  |          | `family::projector`; in the text form and the digest     |
/// | `P::rounds`                                      | int      | dependent exchanges, 1 unless linear                    |
/// | `P::linear`                                      | bool     | with equal state, the sum of coefficients lifts to the sum; else each rank's are lifted by themselves |
/// | `p.coefficients(dims, round)`                    | size_t   | how many; the most, where that changes from step to step |
/// | `p.project(ctx, dims, round, a, state, room)`    | in<Exec> | the coefficients of a: `room`, or a itself              |
/// | `p.accept(ctx, dims, round, mean, state)`        | void     | only if rounds > 1: a mean that is not the last; writes tentative state |
/// | `p.lift(ctx, dims, c, state, room)`              | in<Exec> | last-round coefficients to the tensor; for the mean and for my own |
///
/// Optional:
///
/// | expression                                       | means                                                            |
/// |--------------------------------------------------|------------------------------------------------------------------|
/// | `P::keeps_coordinates`                           | true: the coefficients are the elements themselves               |
/// | `p.check(dims)`                                  | throws `configuration_error` for a shape that it cannot take     |
/// | `p.begin(ctx, dims, state)`                      | `course`: what this step does; by mirrored state and `ctx.number` alone, so that all ranks do the same |
/// | `p.coefficients(dims, round, state)`             | how many in the step that begins                                 |
/// | `p.commit_whole(ctx, dims, mean, state)`         | a step stands in which the signal travelled whole                |
/// | `s.carry_over(ctx, p, dims, old)`                | a state just made takes from the one before a knob changed what still fits |
/// | `p.commit(ctx, dims, mean, state)`               | the step stands: keep what the next one starts from              |
/// | `p.project_sum(ctx, dims, g, e, a, state, room)` | bool, round 0 in one pass: a = g + e and its coefficients; false: not finite |
/// | `p.lift_both(ctx, dims, mean, own, state, g, a)` | one pass: g = lift(mean), a -= lift(own)                          |
/// | `p.owes(dims)`                                   | instead: the floats of P and Q, the factors of what leaves a; with memories that may owe their product |
/// | `p.owe(ctx, dims, mean, own, state, P, Q)`       | then: writes them; mean is own where coefficients do not add up   |
/// | `p.project_owed(ctx, dims, g, e, P, Q, a, state, room)` | then: `project_sum` of g and e less that product, to the bit as if `settle` had come before |
/// | `p.settle(ctx, dims, P, Q, e)`                   | then: takes the product from e                                   |
template <class P>
concept projector = std::semiregular<P> && concepts::has_name<P> && concepts::has_rounds<P> &&
    concepts::has_linear<P> && concepts::has_coefficients<P> && concepts::has_project<P> && concepts::has_lift<P> &&
    (P::rounds == 1 || (concepts::has_accept<P> && P::linear));

/// Fails to compile with one plain sentence about the first thing that P lacks.
template <class P>
consteval bool explain_projector() {
  if constexpr (!std::semiregular<P>)
    static_assert(always_false<P>, "Projector: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<P>)
    static_assert(always_false<P>, "Projector: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_rounds<P>)
    static_assert(always_false<P>, "Projector: needs 'static constexpr int rounds'.");
  else if constexpr (!concepts::has_linear<P>)
    static_assert(always_false<P>, "Projector: needs 'static constexpr bool linear'.");
  else if constexpr (!concepts::has_coefficients<P>)
    static_assert(always_false<P>, "Projector: needs 'std::size_t coefficients(shape, int round) const'.");
  else if constexpr (!concepts::has_project<P>)
    static_assert(
        always_false<P>,
        "Projector: needs 'in<Exec> project(ctx, dims, round, a, state, room) const' for any execution space.");
  else if constexpr (!concepts::has_lift<P>)
    static_assert(always_false<P>,
                  "Projector: needs 'in<Exec> lift(ctx, dims, c, state, room) const' for any execution space.");
  else if constexpr (P::rounds > 1 && !concepts::has_accept<P>)
    static_assert(always_false<P>,
                  "Projector: with more than one round it needs 'void accept(ctx, dims, round, mean, state) const'.");
  else if constexpr (P::rounds > 1 && !P::linear)
    static_assert(always_false<P>,
                  "Projector: with more than one round it must be linear, for 'accept' is given the ranks' mean.");
  return projector<P>;
}

}  // namespace gradpress
