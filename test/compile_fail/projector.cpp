// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/projector.hpp>

using namespace gradpress;

struct no_rounds {
  static constexpr std::string_view name = "p";
};
struct no_linear : no_rounds {
  static constexpr int rounds = 1;
};
struct no_coefficients : no_linear {
  static constexpr bool linear = true;
};
struct no_project : no_coefficients {
  std::size_t coefficients(shape d, int) const { return d.size(); }
};
struct no_lift : no_project {
  template <class Exec, class State>
  in<Exec> project(step<Exec> const&, shape, int, in<Exec> a, State&, view<Exec>) const {
    return a;
  }
};
struct whole : no_lift {
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const&, shape, in<Exec> c, State&, view<Exec>) const {
    return c;
  }
};
struct no_accept : whole {
  static constexpr int rounds = 2;
};
struct two_rounds_of_its_own : no_accept {
  static constexpr bool linear = false;
  template <class Exec, class State>
  void accept(step<Exec> const&, shape, int, in<Exec>, State&) const {}
};

#if defined(CASE_NO_ROUNDS)  // expect: Projector: needs 'static constexpr int rounds'
static_assert(explain_projector<no_rounds>());
#elif defined(CASE_NO_LINEAR)              // expect: Projector: needs 'static constexpr bool linear'
static_assert(explain_projector<no_linear>());
#elif defined(CASE_NO_COEFFICIENTS)        // expect: Projector: needs 'std::size_t coefficients
static_assert(explain_projector<no_coefficients>());
#elif defined(CASE_NO_PROJECT)             // expect: Projector: needs 'in<Exec> project
static_assert(explain_projector<no_project>());
#elif defined(CASE_NO_LIFT)                // expect: Projector: needs 'in<Exec> lift
static_assert(explain_projector<no_lift>());
#elif defined(CASE_NO_ACCEPT)              // expect: Projector: with more than one round it needs 'void accept
static_assert(explain_projector<no_accept>());
#elif defined(CASE_TWO_ROUNDS_OF_ITS_OWN)  // expect: Projector: with more than one round it must be linear
static_assert(explain_projector<two_rounds_of_its_own>());
#else
static_assert(explain_projector<whole>());
static_assert(!projector<int> && !projector<no_lift> && !projector<no_accept>);
#endif
