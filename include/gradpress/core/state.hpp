// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a policy keeps between steps.
///
/// A policy that remembers declares `template <class Exec> struct state`:
///
/// | expression                     | means                                                                             |
/// |--------------------------------|-----------------------------------------------------------------------------------|
/// | `state<Exec>(policy, ctx, d)`  | makes it; sizes may depend on knobs and shape, start values on the shared key     |
/// | `s.visit(v)`                   | `v(name, buffer)` for everything a checkpoint keeps; tentative fields are left out |
/// | `s.undo()`                     | optional: takes the last commit back; the reducer calls it at most once a commit  |
///
/// A policy that does not remember declares nothing. Names need only differ inside a policy: one that another policy of
/// the method has already reaches a checkpoint as "policy.name".

#include <gradpress/core/step.hpp>

#include <concepts>
#include <utility>

namespace gradpress {

struct stateless {
  template <class P, class Context>
  stateless(P const&, Context const&, shape const&) {}
  template <class V>
  void visit(V&&) {}
};

/// A field that a policy writes whole in each step, in two versions: the one that stands, and what this step makes of it.
template <class Exec>
struct two_versions {
  buffer<Exec> stands, tentative;
  void commit() noexcept { std::swap(stands, tentative); }
  void undo() noexcept { std::swap(stands, tentative); }
};

namespace detail {
template <class Policy, class Exec>
struct state_for {
  using type = stateless;
};
template <class Policy, class Exec>
requires requires { typename Policy::template state<Exec>; }
struct state_for<Policy, Exec> {
  using type = typename Policy::template state<Exec>;
};
}  // namespace detail

template <class Policy, class Exec>
using state_of = typename detail::state_for<Policy, Exec>::type;
/// Does this policy keep anything between steps?
template <class Policy>
inline constexpr bool keeps_state = !std::same_as<state_of<Policy, Kokkos::DefaultHostExecutionSpace>, stateless>;

}  // namespace gradpress
