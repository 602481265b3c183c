// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/schedule.hpp>

using namespace gradpress;

struct whole {
  double operator()(std::uint64_t) const { return 1; }
};
struct not_const {
  double operator()(std::uint64_t) { return 1; }
};
struct not_copyable : whole {
  not_copyable() = default;
  not_copyable(not_copyable const&) = delete;
};
struct of_text {
  char const* operator()(std::uint64_t) const { return ""; }
};

#if defined(CASE_NOT_CONST)  // expect: Schedule: needs 'double operator()(std::uint64_t step) const'
static_assert(explain_schedule<not_const>());
#elif defined(CASE_NO_NUMBER)     // expect: Schedule: needs 'double operator()(std::uint64_t step) const'
static_assert(explain_schedule<of_text>());
#elif defined(CASE_NOT_COPYABLE)  // expect: Schedule: must be copyable
static_assert(explain_schedule<not_copyable>());
#else
static_assert(explain_schedule<whole>());
static_assert(!schedule<not_const> && !schedule<not_copyable> && !schedule<of_text> && !schedule<double>);
#endif
