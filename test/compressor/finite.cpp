// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/finite.hpp>

#include "../support/lone_rank.hpp"

#include <string>

using namespace gradpress;
using namespace gradpress::test;

namespace {
template <class F>
std::string complaint(F const& f) {
  try {
    f();
  } catch (non_finite_error const& e) {
    return e.what();
  }
  return "";
}
}  // namespace

TEST_CASE("require_finite finds one bad number anywhere") {
  lone_rank const me;
  for (auto const n : law_sizes) {
    floats x(n, 1.f);
    CHECK(complaint([&] { detail::require_finite(me.ctx, over(std::as_const(x))); }).empty());
    for (std::size_t i = 0; i < n; i += 31)
      for (auto const bad : not_finite) {
        x[i] = bad;
        CHECK(complaint([&] { detail::require_finite(me.ctx, over(std::as_const(x)), "what it is"); }) == "what it is");
        x[i] = 1.f;
      }
  }
}

TEST_CASE("what ranks agreed on must be finite for all of them together") {
  lone_rank const one{0, 1}, four{0, 4};
  floats const agreed{1.f, 2e38f};
  CHECK(complaint([&] { detail::require_summable(one.ctx, over(agreed)); }).empty());
  CHECK(complaint([&] { detail::require_summable(four.ctx, over(agreed)); }) ==
        "the agreed scale, or the sum that it allows, is not finite");
}
