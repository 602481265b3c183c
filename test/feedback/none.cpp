// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/none.hpp>

#include "../concepts/feedback_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

// What is a Feedback, and what is not.
namespace {
struct no_law {
  static constexpr std::string_view name = "no_law";
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State&, view<Exec>) const {
    return g;
  }
};
struct no_compensate {
  static constexpr std::string_view name = "no_compensate";
  static constexpr memory_law law = memory_law::none;
};
struct remembers_and_keeps_nothing : no_feedback {
  static constexpr memory_law law = memory_law::additive;
};
}  // namespace
static_assert(feedback<no_feedback>);
static_assert(!remembers<no_feedback>);
static_assert(!feedback<no_law>);
static_assert(!feedback<no_compensate>);
static_assert(!feedback<remembers_and_keeps_nothing>);
static_assert(!feedback<memory_law>);

TEST_CASE("feedback::none obeys the laws of feedbacks: the signal is the gradient, and nothing is kept") {
  check_feedback(no_feedback{});
  CHECK(describe(no_feedback{}) == "none");
}
