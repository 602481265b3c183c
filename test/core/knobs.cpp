// SPDX-License-Identifier: Apache-2.0
#include <gradpress/core/knobs.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
enum class colour { red, green };
constexpr std::array<std::string_view, 2> names_of(colour) { return {"red", "green"}; }

struct inner {
  double share = 0.1;
  using family = family::selector;
  static constexpr std::string_view name = "inner";
  static constexpr auto knobs = std::tuple{knob{"share", &inner::share}};
};
struct outer {
  inner selector;
  int bits = 8;
  bool scaled = false;
  colour paint = colour::green;
  using family = family::quantizer;
  static constexpr std::string_view name = "outer";
  static constexpr auto knobs = std::tuple{knob{"selector", &outer::selector}, knob{"bits", &outer::bits},
                                           knob{"scaled", &outer::scaled}, knob{"paint", &outer::paint}};
};
struct plain {
  using family = family::feedback;
  static constexpr std::string_view name = "plain";
};
}  // namespace

TEST_CASE("core/knobs: a policy is described with all its knobs, those of policies inside it too") {
  CHECK(describe(outer{}) == "outer(selector=inner(share=0.1),bits=8,scaled=false,paint=green)");
  CHECK(describe(plain{}) == "plain");
  outer o;
  o.selector.share = 0.2;
  CHECK(describe(o) != describe(outer{}));
}

TEST_CASE("core/knobs: digests tell apart what is put together differently") {
  CHECK(digest{}.add("ab").add("c").value() != digest{}.add("a").add("bc").value());
  CHECK(digest{}.add(1).add(2).value() != digest{}.add(2).add(1).value());
  CHECK(digest{}.add("").value() != digest{}.value());
}
