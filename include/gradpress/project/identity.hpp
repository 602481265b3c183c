// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: none. The coefficients are the elements.

#include <gradpress/concepts/projector.hpp>

namespace gradpress {

/// Copies nothing, lifts nothing.
struct identity {
  using family = family::projector;
  static constexpr std::string_view name = "identity";
  static constexpr int rounds = 1;
  static constexpr bool linear = true;
  static constexpr bool keeps_coordinates = true;

  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept { return d.size(); }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const&, shape, int, in<Exec> a, State&, view<Exec>) const {
    return a;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const&, shape, in<Exec> c, State&, view<Exec>) const {
    return c;
  }
};

static_assert(explain_projector<identity>());

}  // namespace gradpress
