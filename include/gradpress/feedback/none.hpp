// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: none. What is not delivered is forgotten.

#include <gradpress/concepts/feedback.hpp>

namespace gradpress {

/// The signal is the gradient itself; nothing is copied and nothing of this rank's own is decoded.
///
/// - Use   with unbiased quantizers (stochastic_int, ternary) and with casts. A biased selector without a memory may
///         not converge at all: workers whose large entries cancel hide the small ones for ever.
struct no_feedback {
  using family = family::feedback;
  static constexpr std::string_view name = "none";
  static constexpr memory_law law = memory_law::none;

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State&, view<Exec>) const {
    return g;
  }
};

static_assert(explain_feedback<no_feedback>());

}  // namespace gradpress
