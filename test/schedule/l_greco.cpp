// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/l_greco.hpp>

#include "../support/low_rank_matrices.hpp"
#include "../support/planted.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

namespace {
/// Singular values first, first * ratio, ...
std::vector<double> falling(std::size_t count, double first, double ratio) {
  std::vector<double> sigma(count);
  for (auto& s : sigma) s = std::exchange(first, first * ratio);
  return sigma;
}
double error_of(std::vector<double> const& sigma, int rank) {
  double sum = 0;
  for (auto j = static_cast<std::size_t>(rank); j < sigma.size(); ++j) sum += sigma[j] * sigma[j];
  return std::sqrt(sum);
}
constexpr shape wide{48, 200};
}  // namespace

TEST_CASE("schedule::l_greco: ranks move from a tensor that does not need them, and messages shrink") {
  // One of rank 1, one whose ranks count much, two that are flat: there a rank less costs little error.
  std::vector<std::vector<double>> const spectra = {{10}, falling(40, 10, 0.6), falling(40, 1, 1), falling(40, 1, 1)};
  l_greco planner{l_greco_options{.every = 20, .window = 3}};
  for (std::size_t t = 0; t < 4; ++t) CHECK(planner.add("w" + std::to_string(t), wide.rows, wide.cols, 4) == t);
  double before = 0, allowed = 0;
  for (auto const& s : spectra)
    before += 4.0 * 4 * (wide.rows + wide.cols), allowed += error_of(s, 4) * 3;  // the same signal three times
  for (std::uint64_t step = 0; step < 20; ++step) {
    CHECK(planner.adjust(step).empty());
    for (std::size_t t = 0; t < 4; ++t) planner.observe(t, step, planted(wide, spectra[t], t + 1));
  }
  auto const changes = planner.adjust(20);
  REQUIRE(planner.last().feasible);
  CHECK(planner.rank(0) == 2);  // as low as it may go
  CHECK(planner.rank(1) > 4);
  CHECK(planner.rank(2) < 4);
  CHECK(planner.rank(3) < 4);
  CHECK(planner.last().bytes < before);
  CHECK(planner.last().budget == doctest::Approx(allowed).epsilon(0.02));
  double bytes = 0, error = 0;
  for (std::size_t t = 0; t < 4; ++t) {
    bytes += 4.0 * planner.rank(t) * (wide.rows + wide.cols);
    error += 3 * error_of(spectra[t], planner.rank(t));
  }
  CHECK(planner.last().bytes == bytes);
  CHECK(error <= allowed * 1.02);
  REQUIRE(changes.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(changes[i].tensor == i);
    CHECK(changes[i].before == 4);
    CHECK(changes[i].after == planner.rank(i));
  }
}

TEST_CASE("schedule::l_greco: only the window counts, and every adjustment begins anew") {
  auto const flat = planted(wide, falling(40, 1, 1), 1), steep = planted(wide, {1}, 2);
  auto const ranks_after = [&](floats const& early, floats const& late, floats const& other) {
    l_greco planner{l_greco_options{.every = 10, .window = 2}};
    planner.add("a", wide.rows, wide.cols, 4);
    planner.add("b", wide.rows, wide.cols, 4);
    std::vector<int> ranks;
    for (std::uint64_t step = 0; step < 30; ++step) {
      planner.adjust(step);
      if (step % 10 == 0 && step > 0) ranks.insert(ranks.end(), {planner.rank(0), planner.rank(1)});
      planner.observe(0, step, step % 10 < 8 ? early : late);
      planner.observe(1, step, other);
    }
    return ranks;
  };
  auto const same = ranks_after(steep, steep, flat);
  CHECK(same[0] == 2);
  CHECK(ranks_after(flat, steep, flat) == same);
  CHECK(std::vector(same.begin(), same.begin() + 2) == std::vector(same.begin() + 2, same.end()));
  l_greco const planner{l_greco_options{.every = 10, .window = 2}};
  for (std::uint64_t step = 0; step < 30; ++step) CHECK(planner.wants(step) == (step % 10 >= 8));
}

TEST_CASE("schedule::l_greco: what is known of some tensors decides about them alone") {
  auto const steep = planted(wide, {1}, 2);
  l_greco planner{l_greco_options{.every = 4, .window = 4}};
  auto const seen = planner.add("seen", wide.rows, wide.cols, 4);
  auto const unseen = planner.add("unseen", wide.rows, wide.cols, 6);
  auto const broken = planner.add("broken", wide.rows, wide.cols, 3);
  auto const zeros = planner.add("zeros", wide.rows, wide.cols, 8);
  floats nan(wide.size(), 1.f);
  nan[7] = not_finite[0];
  for (std::uint64_t step = 0; step < 4; ++step) {
    planner.observe(seen, step, steep);
    planner.observe(broken, step, nan);
    planner.observe(zeros, step, floats(wide.size(), 0.f));
  }
  auto const changes = planner.adjust(4);
  CHECK(planner.last().feasible);
  CHECK(planner.last().picks.size() == 2);
  CHECK(changes.size() == 2);
  CHECK(planner.rank(seen) == 2);
  CHECK(planner.rank(unseen) == 6);
  CHECK(planner.rank(broken) == 3);
  CHECK(planner.rank(zeros) == 4);
  CHECK(planner.adjust(8).empty());  // nothing was seen since
  for (std::uint64_t step = 8; step < 12; ++step) planner.observe(broken, step, steep);
  CHECK(planner.adjust(12).size() == 1);  // what was not finite is forgotten
  CHECK(planner.rank(broken) == 1);
}

TEST_CASE("schedule::l_greco: an alpha that nothing fits changes nothing") {
  auto const flat = planted(wide, falling(40, 1, 1), 1);
  l_greco planner{l_greco_options{.alpha = 0.5, .every = 1, .window = 1}};
  planner.add("w", wide.rows, wide.cols, 4, 7);
  planner.observe(0, 0, flat);
  CHECK(planner.adjust(1).empty());
  CHECK(!planner.last().feasible);
  CHECK(planner.rank(0) == 7);
  l_greco loose{l_greco_options{.alpha = 1.5, .every = 1, .window = 1}};
  loose.add("w", wide.rows, wide.cols, 4, 7);
  loose.observe(0, 0, flat);
  CHECK(loose.adjust(1).size() == 1);
  CHECK(loose.rank(0) == 2);
}

TEST_CASE("schedule::l_greco: budgets are those of the defaults, whatever the ranks have become") {
  auto const flat = planted(wide, falling(40, 1, 1), 1), steep = planted(wide, falling(40, 4, 0.6), 2);
  auto const ranks_after = [&](std::vector<bool> const& flat_first) {
    l_greco planner{l_greco_options{.every = 1, .window = 1}};
    planner.add("a", wide.rows, wide.cols, 4);
    planner.add("b", wide.rows, wide.cols, 4);
    for (std::uint64_t step = 0; step < flat_first.size(); ++step) {
      planner.observe(0, step, flat_first[step] ? flat : steep);
      planner.observe(1, step, flat_first[step] ? steep : flat);
      planner.adjust(step + 1);
    }
    return std::pair(planner.rank(0), planner.rank(1));
  };
  auto const there = ranks_after({true}), back = ranks_after({false});
  CHECK(there.first < there.second);
  CHECK(back == std::pair(there.second, there.first));
  CHECK(ranks_after({true, true, true}) == there);
  CHECK(ranks_after({true, false}) == back);
  CHECK(ranks_after({true, false, true, false, true}) == there);
}

TEST_CASE("schedule::l_greco: ranks stay inside their tensor and what low_rank takes") {
  l_greco small{l_greco_options{.alpha = 0.1, .every = 1, .window = 1}};
  small.add("small", 3, 5, 2);
  small.add("vector", 9, 1, 4);
  small.observe(0, 0, heavy_tailed(15));
  small.observe(1, 0, heavy_tailed(9));
  small.adjust(1);
  REQUIRE(small.last().feasible);
  CHECK(small.rank(0) == 3);
  CHECK(small.rank(1) == 1);
  l_greco large{l_greco_options{.alpha = 0.1, .every = 1, .window = 1}};
  large.add("large", 40, 50, 20);
  large.observe(0, 0, planted({40, 50}, falling(40, 1, 0.75)));
  large.adjust(1);
  REQUIRE(large.last().feasible);
  CHECK(large.rank(0) > 20);
  CHECK(large.rank(0) <= 32);
}

TEST_CASE("schedule::l_greco: mistakes are named") {
  auto const refused = [](l_greco_options const& o, char const* says) {
    CHECK_THROWS_WITH_AS(l_greco<>{o}, doctest::Contains(says), configuration_error);
  };
  refused({.alpha = -1}, "alpha");
  refused({.every = 0}, "window must lie in 1..every");
  refused({.every = 5, .window = 6}, "it is 6 of 5");
  refused({.lower = 0}, "lower");
  refused({.upper = 0.5}, "upper");
  refused({.buckets = 0}, "buckets");
  refused({.iterations = 0}, "iterations");
  l_greco planner;
  CHECK_THROWS_WITH_AS(planner.add("w", 3, 4, 0), doctest::Contains("tensor 'w'"), configuration_error);
  CHECK_THROWS_WITH_AS(planner.add("w", 3, 4, 2, 33), doctest::Contains("tensor 'w'"), configuration_error);
  CHECK_THROWS_WITH_AS(planner.add("w", 0, 4, 2), doctest::Contains("tensor 'w' has no elements"), configuration_error);
  planner.add("w", 3, 4, 2);
  CHECK_THROWS_WITH_AS(planner.add("w", 3, 4, 2), doctest::Contains("tensor 'w' was added before"),
                       configuration_error);
  CHECK_THROWS_WITH_AS(planner.observe(0, 0, floats(11)), doctest::Contains("11 elements was observed, it has 12"),
                       configuration_error);
  CHECK_THROWS_WITH_AS(planner.observe(1, 0, floats(12)), doctest::Contains("was never added"), configuration_error);
  CHECK(planner.name(0) == "w");
  CHECK(planner.size() == 1);
}

namespace {
std::string saved(l_greco<> const& planner) {
  std::ostringstream to;
  planner.save(to);
  return to.str();
}
constexpr l_greco_options eights{.every = 8, .window = 3};
/// Two matrices, seen until a step; by another default where it is to be loaded.
struct seeing {
  floats const steep = planted(wide, falling(40, 4, 0.6), 2), flat = planted(wide, falling(40, 1, 0.97), 3);
  l_greco<> planner;
  explicit seeing(int by_default = 4, l_greco_options const& o = eights) : planner(o) {
    planner.add("a", wide.rows, wide.cols, by_default);
    planner.add("b", wide.rows, wide.cols, by_default);
  }
  void steps(std::uint64_t from, std::uint64_t to) {
    for (auto s = from; s < to; ++s) {
      planner.adjust(s);
      planner.observe(0, s, times(1 + static_cast<float>(s % 8), s % 2 == 0 ? steep : flat));
      planner.observe(1, s, times(static_cast<float>(1 + s % 5), s % 3 == 0 ? steep : flat));
    }
  }
};
}  // namespace

TEST_CASE("schedule::l_greco: a saved planner chooses on as it would have, whatever was added here") {
  for (std::uint64_t until = 0; until < 20; ++until) {
    seeing straight, resumed(7);
    straight.steps(0, until);
    auto const text = saved(straight.planner);
    CHECK((text.size() > 4 * wide.size()) == (until % 8 >= 6 || (until % 8 == 0 && until > 0)));  // sums, if there are
    resumed.steps(0, 7);
    std::istringstream from(text);
    resumed.planner.load(from);
    CHECK(saved(resumed.planner) == text);
    for (auto* one : {&straight, &resumed}) one->steps(until, 25);
    CHECK(saved(resumed.planner) == saved(straight.planner));
    CHECK(resumed.planner.rank(0) == straight.planner.rank(0));
    CHECK(resumed.planner.rank(1) == straight.planner.rank(1));
    CHECK(resumed.planner.last().bytes == straight.planner.last().bytes);
  }
}

TEST_CASE("schedule::l_greco: a checkpoint that does not fit is refused and changes nothing") {
  seeing here;
  here.steps(0, 7);
  auto const good = saved(here.planner);
  auto const refused = [&](std::string const& text, char const* says) {
    std::istringstream from(text);
    CHECK_THROWS_WITH_AS(here.planner.load(from), doctest::Contains(says), state_error);
    CHECK(saved(here.planner) == good);
  };
  refused("", "missing or truncated");
  refused(good.substr(0, good.size() - 1), "missing or truncated");
  for (std::size_t i = 8; i < good.size(); i += i < 400 ? 1 : 997) {
    auto damaged = good;
    damaged[i] ^= 4;
    refused(damaged, i < 12 ? "not a gradpress checkpoint" : i < 16 ? "format" : "damaged");
  }
  refused(saved(seeing(4, {.every = 8, .window = 2}).planner),
          "tensor 'a': was saved by l_greco(alpha=1,every=8,window=2");
  l_greco<> other(eights);
  refused(saved(other), "the checkpoint has 0 tensors, here are 2");
  other.add("a", wide.rows, wide.cols, 4), other.add("c", wide.rows, wide.cols, 4);
  refused(saved(other), "tensor 'b': has 'c' in its place");
  l_greco<> turned(eights);
  turned.add("a", wide.rows, wide.cols, 4), turned.add("b", wide.cols, wide.rows, 4);
  refused(saved(turned), "tensor 'b': is 200 x 48 in the checkpoint and 48 x 200 here");
}
