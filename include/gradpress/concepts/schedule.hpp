// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a schedule must provide, and the sentence a user reads when it does not.

#include <gradpress/core/kind.hpp>

#include <concepts>
#include <cstdint>

namespace gradpress {

namespace concepts {
template <class S>
concept has_value_at = requires(S const s, std::uint64_t step) {
  { s(step) } -> std::convertible_to<double>;
};
}  // namespace concepts

/// A schedule is a value of the step number: any callable will do.
///
/// | expression  | result | means                                                                                      |
/// |-------------|--------|--------------------------------------------------------------------------------------------|
/// | `s(step)`   | double | the value in step number `step`, from 0; a pure function of it, and the same on all ranks   |
/// | `s.check()` | void   | optional: throws `configuration_error` if its numbers are out of range                      |
template <class S>
concept schedule = std::copy_constructible<S> && concepts::has_value_at<S>;

/// Fails to compile with one plain sentence about the first thing that S lacks.
template <class S>
consteval bool explain_schedule() {
  if constexpr (!std::copy_constructible<S>)
    static_assert(always_false<S>, "Schedule: must be copyable; the reducer keeps a copy.");
  else if constexpr (!concepts::has_value_at<S>)
    static_assert(always_false<S>, "Schedule: needs 'double operator()(std::uint64_t step) const'.");
  return schedule<S>;
}

}  // namespace gradpress
