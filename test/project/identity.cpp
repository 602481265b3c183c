// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/identity.hpp>

#include "../concepts/projector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

// What is a Projector, and what is not.
namespace {
struct no_rounds {
  static constexpr std::string_view name = "no_rounds";
  [[maybe_unused]] static constexpr bool linear = true;
  std::size_t coefficients(shape d, int) const { return d.size(); }
};
struct no_lift {
  static constexpr std::string_view name = "no_lift";
  static constexpr int rounds = 1;
  static constexpr bool linear = true;
  std::size_t coefficients(shape d, int) const { return d.size(); }
  template <class Exec, class State>
  in<Exec> project(step<Exec> const&, shape, int, in<Exec> a, State&, view<Exec>) const {
    return a;
  }
};
struct two_rounds_without_accept : identity {
  static constexpr int rounds = 2;
};
struct counts_nothing : identity {
  void coefficients(shape, int) const {}
};
}  // namespace
static_assert(projector<identity>);
static_assert(keeps_coordinates<identity>);
static_assert(!projector<no_rounds>);
static_assert(!projector<no_lift>);
static_assert(!projector<two_rounds_without_accept>);
static_assert(!projector<counts_nothing>);
static_assert(!projector<shape>);

TEST_CASE("project::identity obeys the laws of projectors and touches nothing") {
  check_projector(identity{});
  projecting<identity> at(identity{}, {3, 4});
  floats const x = heavy_tailed(12);
  CHECK(at.use.project(at.r.ctx, at.dims, 0, over(x), at.state, view<host>()).data() == x.data());
  CHECK(at.use.lift(at.r.ctx, at.dims, over(x), at.state, view<host>()).data() == x.data());
  CHECK(identical(at.step(x), x));
  CHECK(at.kept().empty());
  CHECK(describe(identity{}) == "identity");
}
