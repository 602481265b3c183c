// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/feedback.hpp>

using namespace gradpress;

struct no_law {
  static constexpr std::string_view name = "f";
};
struct no_compensate : no_law {
  static constexpr memory_law law = memory_law::additive;
};
struct no_keep : no_compensate {
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State&, view<Exec>) const {
    return g;
  }
};
struct whole : no_keep {
  template <class Exec, class State>
  void keep(step<Exec> const&, in<Exec>, buffer<Exec>&, State&) const {}
};
struct forgets : no_keep {
  static constexpr memory_law law = memory_law::none;
};

struct no_undo : forgets {
  template <class Exec, class State>
  void apply(step<Exec> const&, view<Exec>, State&) const {}
};
struct applies : no_undo {
  template <class Rest, class State>
  void undo(Rest&, State&) const {}
};

#if defined(CASE_NO_LAW)  // expect: Feedback: needs 'static constexpr memory_law law'
static_assert(explain_feedback<no_law>());
#elif defined(CASE_NO_COMPENSATE)  // expect: Feedback: needs 'in<Exec> compensate
static_assert(explain_feedback<no_compensate>());
#elif defined(CASE_NO_KEEP)        // expect: Feedback: with a memory it needs 'void keep
static_assert(explain_feedback<no_keep>());
#elif defined(CASE_NO_UNDO)        // expect: Feedback: with 'apply' it needs 'void undo
static_assert(explain_feedback<no_undo>());
#else
static_assert(explain_feedback<whole>() && explain_feedback<forgets>() && explain_feedback<applies>());
static_assert(!feedback<int> && !feedback<no_keep> && !feedback<no_compensate> && !feedback<no_undo>);
#endif
