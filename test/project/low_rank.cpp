// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/low_rank.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/matrices.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
struct no_accept {
  static constexpr std::string_view name = "no_accept";
  static constexpr int rounds = 2;
  static constexpr bool linear = true;
  std::size_t coefficients(shape d, int round) const { return low_rank{}.coefficients(d, round); }
  template <class Exec, class State>
  in<Exec> project(step<Exec> const&, shape, int, in<Exec> a, State&, view<Exec>) const {
    return a;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const&, shape, in<Exec> c, State&, view<Exec>) const {
    return c;
  }
};
}  // namespace
static_assert(projector<low_rank>);
static_assert(!projector<no_accept>);
static_assert(!keeps_coordinates<low_rank>);
static_assert(low_rank{.rank = 2}.coefficients({7, 5}, 0) == 14 && low_rank{.rank = 2}.coefficients({7, 5}, 1) == 10);
static_assert(low_rank{.rank = 9}.coefficients({7, 5}, 0) == 35 && low_rank{.rank = 4}.coefficients({1, 5}, 1) == 5);

using matrix = floats;

TEST_CASE("project::low_rank obeys the laws of projectors") {
  for (int const rank : {1, 2, 4, 32}) check_projector(low_rank{.rank = rank});
}

TEST_CASE("project::low_rank is exact in one step if the mean has no more than its rank") {
  shape const d{40, 25};
  for (std::size_t const r : {1u, 2u, 4u, 8u}) {
    auto const m = of_rank(r, d, 7);
    projecting<low_rank> at({.rank = static_cast<int>(r)}, d);
    CAPTURE(r);
    CHECK(distance(at.step(m), m) <= 1e-5 * std::sqrt(squared(m)));
  }
  SUBCASE("over ranks: each of them of full rank, their mean of rank 2") {
    constexpr int P = 3;
    auto const mean = of_rank(2, d, 9);
    run_ranks(P, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2}));
      auto g = mean;
      for (std::size_t i = 0; i < g.size(); ++i) {  // what the ranks add to the mean cancels
        auto const noise = key{5}.uniform(i) - 0.5f;
        g[i] += noise * static_cast<float>(c.rank() - 1);
      }
      r.average(w, std::span(g));
      if (!(distance(g, mean) <= 1e-5 * std::sqrt(squared(mean) + 1000))) throw std::runtime_error("not exact");
    });
  }
}

TEST_CASE(
    "project::low_rank converges by a factor (sigma_2 / sigma_1)^2 a step under a constant gradient without memory") {
  // diag(4, 2, 1), rank 1, start Q = (1, 1, 1): the angle between the basis and the first axis, and the error of the
  // update, worked out by hand. Each step multiplies a component by the square of its singular value.
  shape const d{3, 3};
  matrix const m = {4, 0, 0, 0, 2, 0, 0, 0, 1};
  projecting<low_rank> at({.rank = 1}, d);
  at.state.visit([](char const*, buffer<host> q) { Kokkos::deep_copy(q, 1.f); });
  double const tangents[] = {0.559, 0.126, 0.031, 0.0078};
  double error = 0;
  for (int s = 0; s < 4; ++s) {
    auto const update = at.step(m);
    auto const p = at.state.basis;
    auto const tangent =
        std::hypot(static_cast<double>(p(1)), static_cast<double>(p(2))) / std::abs(static_cast<double>(p(0)));
    CAPTURE(s);
    CHECK(std::abs(tangent - tangents[s]) < 0.0006);
    // P = (4^(2s+1), 2^(2s+1), 1) up to its length
    CHECK(tangent == doctest::Approx(std::hypot(std::pow(0.5, 2 * s + 1), std::pow(0.25, 2 * s + 1))).epsilon(1e-5));
    error = distance(update, m);
    if (s == 0) CHECK(error == doctest::Approx(std::sqrt(8.)).epsilon(1e-5));
  }
  CHECK(error == doctest::Approx(std::sqrt(5.)).epsilon(1e-3));  // the best rank 1 approximation leaves 2 and 1
}

TEST_CASE("project::low_rank comes back from a gradient of zeros: a dead factor is drawn anew") {
  shape const d{12, 9};
  auto const m = of_rank(1, d, 3);
  for (int const rank : {1, 2}) {
    projecting<low_rank> at({.rank = rank}, d), twin({.rank = rank}, d, 2);
    for (int s = 0; s < 3; ++s) {
      CHECK(squared(at.step(floats(d.size()))) == 0);
      twin.step(floats(d.size()));
      CHECK(squared(at.kept()) > 0);
      CHECK(identical(at.kept(), twin.kept()));  // the same on every rank
    }
    CHECK(distance(at.step(m), m) <= 1e-5 * std::sqrt(squared(m)));
  }
  SUBCASE("one column of two dies: only that one is drawn anew") {
    projecting<low_rank> at({.rank = 2}, d);
    at.step(m);  // of rank 1: the second column of the mean factor may vanish, and must not stay dead
    auto const q = at.kept();
    double second = 0;
    for (std::size_t i = 0; i < d.cols; ++i) second += std::abs(static_cast<double>(q[2 * i + 1]));
    CHECK(second > 0);
    auto const two = of_rank(2, d, 21);
    at.step(two);
    CHECK(distance(at.step(two), two) <= 1e-4 * std::sqrt(squared(two)));
  }
}

TEST_CASE("project::low_rank keeps locally what this rank's own factor did not deliver") {
  constexpr int P = 3;
  shape const d{20, 15};
  run_ranks(P, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2}, error_feedback{}));
    floats residual;
    auto const read = [&](char const* name, auto const& b) {
      if (std::string(name) == "residual") residual = copied(b);
    };
    auto const mine = heavy_tailed(d.size(), static_cast<std::uint64_t>(c.rank()) + 1);
    auto g = mine;
    r.average(w, std::span(g));
    r.visit(w, read);
    // The local rule: mine - P (P^T mine). What is kept is orthogonal to what was delivered, so energies add; the
    // published rule, mine - update, has no such property.
    floats delivered(d.size());
    for (std::size_t i = 0; i < d.size(); ++i) delivered[i] = mine[i] - residual[i];
    double const lost = squared(residual), given = squared(delivered), all = squared(mine);
    if (!(std::abs(lost + given - all) < 1e-5 * all)) throw std::runtime_error("not the local rule");
    if (!(lost > 0.1 * all)) throw std::runtime_error("nothing was lost: the test shows nothing");
    double const published = distance(mine, g) * distance(mine, g);
    if (!(lost < published)) throw std::runtime_error("the local rule leaves less behind");
  });
}

TEST_CASE("project::low_rank has a text form and refuses ranks outside 1..32") {
  CHECK(describe(low_rank{.rank = 4}) == "low_rank(rank=4)");
  CHECK(describe(low_rank{.rank = 4, .start = 9, .memory = memory_rule::global}) ==
        "low_rank(rank=4,start=9,memory=global)");
  CHECK_NOTHROW(low_rank{.rank = 32}.check());
  for (int const rank : {0, -1, 33}) CHECK_THROWS_AS(low_rank{.rank = rank}.check(), configuration_error);
}
