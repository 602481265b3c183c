// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Scope must provide, and the sentence a user reads when it does not.

#include <gradpress/core/kind.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace gradpress {

namespace concepts {
template <class S>
concept has_groups_tensors = requires {
  { S::groups_tensors } -> std::convertible_to<bool>;
};
template <class S>
concept has_groups = requires(S const s, std::span<std::size_t const> sizes) {
  { s.groups(sizes) } -> std::same_as<std::vector<std::size_t>>;
};
}  // namespace concepts

/// A Scope decides what one selection ranges over: which tensors of a list are compressed as one.
///
/// With `s` a const value and `sizes` the elements of each tensor, in the list's order:
///
/// | expression           | result                | means                                                              |
/// |----------------------|-----------------------|--------------------------------------------------------------------|
/// | `S::groups_tensors`  | `bool`                | false: never more than one; then projectors that need matrices may follow |
/// | `s.groups(sizes)`    | `vector<std::size_t>` | how many consecutive tensors each group takes; at least 1 each, and all of them together; depends on nothing but sizes, so that ranks agree |
template <class S>
concept scope = std::semiregular<S> && concepts::has_groups_tensors<S> && concepts::has_groups<S>;

/// Fails to compile with one plain sentence about the first thing that S lacks.
template <class S>
consteval bool explain_scope() {
  if constexpr (!std::semiregular<S>)
    static_assert(always_false<S>, "Scope: must be default-constructible and copyable; it is passed by value.");
  else if constexpr (!concepts::has_groups_tensors<S>)
    static_assert(always_false<S>, "Scope: needs 'static constexpr bool groups_tensors'.");
  else if constexpr (!concepts::has_groups<S>)
    static_assert(always_false<S>,
                  "Scope: needs 'std::vector<std::size_t> groups(std::span<std::size_t const> sizes) const'.");
  return scope<S>;
}

}  // namespace gradpress
