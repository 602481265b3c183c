// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A selector at work on a tensor, with what it keeps from step to step.

#include <gradpress/concepts/selector.hpp>

namespace gradpress::detail {

/// Behind a projector of several rounds the last one's coefficients are remembered; earlier rounds start from a state
/// just made.
template <class Exec, class S>
class chooser {
  state_of<S, Exec> choice;    // of the last round's coefficients
  state_of<S, Exec> unguided;  // of rounds before it: never stands, so they start from nothing
  bool chose = false;          // in this step something was selected by `choice`
  bool chosen = false;         // and in the last one that stands

  static state_of<S, Exec> made(S const& s, step<Exec> const& ctx, std::size_t n) { return {s, ctx, shape{n, 1}}; }

 public:
  /// For rounds of `last` coefficients, and of `first`.
  chooser(S const& s, step<Exec> const& ctx, std::size_t last, std::size_t first)
      : choice(made(s, ctx, last)), unguided(made(s, ctx, first)) {}

  void begin() { chose = false; }
  working<S, Exec> const in_round(S const& s, bool last) {
    chose = chose || last;
    return at_work<S, Exec>(s, last ? choice : unguided);
  }
  void commit() {
    chosen = chose;
    if constexpr (keeps_state<S>)
      if (chosen) choice.commit();
  }
  void undo() {
    if constexpr (keeps_state<S>)
      if (chosen) choice.undo();
    chosen = false;
  }
  /// Begins anew, for rounds of other lengths; a commit before that is not taken back.
  void renew(S const& s, step<Exec> const& ctx, std::size_t last, std::size_t first) {
    choice = made(s, ctx, last);
    unguided = made(s, ctx, first);
    chosen = false;
  }
  template <class V>
  void visit(V&& v) {
    choice.visit(v);
  }
};

}  // namespace gradpress::detail
