// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/accordion.hpp>

#include <doctest/doctest.h>

#include <sstream>
#include <vector>

using namespace gradpress;

namespace {
/// The value after each norm.
std::vector<double> follow(accordion a, std::vector<double> const& norms) {
  std::vector<double> values;
  for (auto const n : norms) {
    auto const before = a.value();
    auto const changed = a.feed(n);
    CHECK(changed == (a.value() != before));
    values.push_back(a.value());
  }
  return values;
}
constexpr accordion_options ranks{.low_compression = 4, .high_compression = 1};
}  // namespace

TEST_CASE("schedule::accordion: low compression while the norm changes by half, in either direction") {
  CHECK(accordion(ranks).value() == 4);
  CHECK(follow(accordion(ranks), {8, 4, 2.5, 1.25, 1.875, 2.8125, 2.7, 0}) ==
        std::vector<double>{4, 4, 1, 4, 4, 4, 1, 4});
  CHECK(follow(accordion(ranks), {8, 8, 11.9, 12, 18, 8.99}) == std::vector<double>{4, 1, 1, 1, 4, 4});
  CHECK(follow(accordion({.low_compression = 0.1, .high_compression = 0.01, .threshold = 0.1}), {10, 9.2, 8.2}) ==
        std::vector<double>{0.1, 0.01, 0.1});
}

TEST_CASE("schedule::accordion: windows are compared by their means, and only when they are whole") {
  auto o = ranks;
  o.window = 3;
  CHECK(follow(accordion(o), {1, 9, 2, 4, 4, 4, 0, 0, 0, 0, 9, 9}) ==
        std::vector<double>{4, 4, 4, 4, 4, 1, 1, 1, 4, 4, 4, 4});
  CHECK(follow(accordion(o), {1, 9, 2, 3, 0, 9, 0, 9, 0}) == std::vector<double>{4, 4, 4, 4, 4, 1, 1, 1, 1});
}

TEST_CASE("schedule::accordion: low compression from a fall of the rate until a window has passed") {
  auto o = ranks;
  o.window = 2;
  accordion a(o);
  CHECK(!a.rate_falls());  // low as yet
  for (int i = 0; i < 4; ++i) a.feed(8);
  CHECK(a.value() == 1);
  a.feed(1000);  // of the old rate: dropped
  CHECK(a.rate_falls());
  CHECK(a.value() == 4);
  CHECK(!a.feed(8));
  CHECK(a.value() == 4);
  CHECK(a.feed(8));  // as before the fall
  CHECK(a.value() == 1);
}

TEST_CASE("schedule::accordion: what cannot be compared counts as a change") {
  auto const bad = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()};
  for (auto const b : bad) CHECK(follow(accordion(ranks), {1, 1, b, 1, 1}) == std::vector<double>{4, 1, 4, 4, 1});
  CHECK(follow(accordion(ranks), {0, 0, 1, 1}) == std::vector<double>{4, 4, 4, 1});
  for (auto const b : bad) {
    CHECK_THROWS_AS(accordion({.low_compression = b}), configuration_error);
    CHECK_THROWS_AS(accordion({.threshold = b}), configuration_error);
  }
  CHECK_THROWS_WITH_AS(accordion({.threshold = 0}), doctest::Contains("threshold"), configuration_error);
  CHECK_THROWS_WITH_AS(accordion({.window = 0}), doctest::Contains("window"), configuration_error);
  CHECK_THROWS_WITH_AS(accordion(ranks).feed(-1), doctest::Contains("negative"), configuration_error);
}

TEST_CASE("schedule::accordion: a saved one goes on as it was, bit for bit, and several share a stream") {
  auto o = ranks;
  o.window = 3;
  std::vector<double> const norms = {8, 8.1, 7.9, 4.3, 3.1, 5.7, 5, 4, 6, 4.9, 0.3, 9, 1, 2, 3};
  for (std::size_t until = 0; until < norms.size(); ++until) {
    accordion a(o), b(o), after(o);
    for (std::size_t i = 0; i < until; ++i) a.feed(norms[i]), b.feed(2 * norms[norms.size() - 1 - i]);
    if (until == 8) a.rate_falls();
    std::ostringstream to;
    a.save(to), b.save(to);
    std::istringstream from(to.str());
    for (auto const* one : {&a, &b}) {
      for (int i = 0; i < 5; ++i) after.feed(1);
      after.load(from);
      CHECK(after.value() == one->value());
      std::ostringstream again, its;
      after.save(again), one->save(its);
      CHECK(again.str() == its.str());
      CHECK(follow(after, norms) == follow(*one, norms));
    }
  }
}

TEST_CASE("schedule::accordion: a checkpoint that does not fit is refused and changes nothing") {
  accordion a(ranks), other({.low_compression = 4, .high_compression = 2});
  for (int i = 0; i < 3; ++i) a.feed(8), other.feed(8);
  auto const text_of = [](accordion const& x) {
    std::ostringstream to;
    x.save(to);
    return to.str();
  };
  auto const good = text_of(a);
  auto const refused = [&](std::string const& text, char const* says) {
    std::istringstream from(text);
    CHECK_THROWS_WITH_AS(a.load(from), doctest::Contains(says), state_error);
    CHECK(text_of(a) == good);
  };
  refused(text_of(other), "accordion(low_compression=4,high_compression=2");
  for (std::size_t n = 0; n < good.size(); ++n) refused(good.substr(0, n), "truncated");
  for (std::size_t i = 8; i < good.size(); ++i) {
    auto damaged = good;
    damaged[i] ^= 1;
    refused(damaged, "");
  }
}
