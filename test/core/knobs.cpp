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

namespace {
std::vector<detail::live_knob> live_knobs_of(outer& o, inner& i) {
  std::vector<detail::live_knob> all;
  detail::append_knobs(o, all);
  detail::append_knobs(i, all);
  return all;
}
}  // namespace

TEST_CASE("core/knobs: a live knob changes by text, of any type, and says what it was") {
  outer o;
  inner i;
  auto const knobs = live_knobs_of(o, i);
  auto const c = change_knob(knobs, "bits", "4");
  CHECK(o.bits == 4);
  CHECK(c.name == "outer.bits");
  CHECK(c.before == "8");
  CHECK(c.after == "4");
  change_knob(knobs, "inner.share", "0.3");
  CHECK(i.share == 0.3);
  CHECK(o.selector.share == 0.1);
  change_knob(knobs, "scaled", "true");
  CHECK(o.scaled);
  change_knob(knobs, "outer.paint", "red");
  CHECK(o.paint == colour::red);
}

TEST_CASE("core/knobs: what does not fit is refused, with what would, and changes nothing") {
  outer o;
  inner i;
  auto const before = describe(o);
  auto knobs = live_knobs_of(o, i);
  auto const refused = [&](char const* name, char const* value, char const* why) {
    CHECK_THROWS_WITH_AS(change_knob(knobs, name, value), doctest::Contains(why), configuration_error);
    CHECK(describe(o) == before);
  };
  refused("bit", "4", "no knob 'bit'; the knobs of its method are: outer.selector, outer.bits, outer.scaled");
  refused("bits", "4.5", "'4.5' is no value of outer.bits, which takes a whole number");
  refused("bits", "99999999999", "which takes a whole number");
  refused("share", "much", "which takes a number");
  refused("scaled", "1", "which takes true or false");
  refused("paint", "blue", "which takes red, green");
  refused("selector", "inner", "is a policy");
  inner other;
  detail::append_knobs(other, knobs);
  refused("share", "0.3", "several policies have a knob 'share'; write one of: inner.share, inner.share");
  CHECK_THROWS_WITH_AS(change_knob({}, "x", "1"), doctest::Contains("are: none"), configuration_error);
}

TEST_CASE("core/knobs: numbers become text that reads back as the same number, whole ones as integers") {
  CHECK(number_text(100000) == "100000");
  CHECK(number_text(-3) == "-3");
  CHECK(number_text(0.1) == "0.1");
  for (double const v : {1e-5, 0.063, 1.0 / 3, 1e300, -2.5}) {
    double back = 0;
    CHECK(detail::read_knob(number_text(v), back));
    CHECK(back == v);
  }
}
