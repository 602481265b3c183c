// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/link.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/delayed.hpp>
#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>

#include <bit>

using namespace gradpress;

namespace {
bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b)) + 1e-18; }
link_cost fit(std::vector<double> const& bytes, std::vector<double> const& seconds) { return fit_link(bytes, seconds); }
}  // namespace

TEST_CASE("communicate::link: a line is found again, over all sizes") {
  std::vector<double> const m = {1024, 4096, 65536, 1048576};
  std::vector<double> t;
  for (auto const b : m) t.push_back(9.1e-4 + 7.4e-10 * b);
  auto const l = fit(m, t);
  CHECK(near(l.alpha, 9.1e-4));
  CHECK(near(l.beta, 7.4e-10));
  CHECK(near(l.seconds(1000), 9.1e-4 + 7.4e-7));
}

TEST_CASE("communicate::link: neither number is ever negative, and nothing is not a number") {
  auto const falling = fit({1, 2, 3}, {3, 2, 1});
  CHECK(falling.beta == 0);
  CHECK(falling.alpha > 0);
  auto const below_zero = fit({100, 200, 400}, {1, 3, 7});
  CHECK(below_zero.alpha == 0);
  CHECK(below_zero.beta > 0.01);
  CHECK(below_zero.beta < 0.0175);
  auto const one = fit({8, 8}, {2, 4});
  CHECK(one.beta == 0);
  CHECK(one.alpha > 2);
  CHECK(one.alpha < 4);
  for (auto const& t : {std::vector<double>{0, 0, 0}, {0, 0, 1}, {-1, -1, -1}, {1, 0, -1}}) {
    auto const l = fit({4, 8, 16}, t);
    CHECK(l.alpha >= 0);
    CHECK(l.beta >= 0);
    CHECK(std::isfinite(l.alpha + l.beta));
  }
}

TEST_CASE("communicate::link: relative errors count, so that small messages decide alpha") {
  auto const l = fit({1e3, 1e4, 1e5, 1e7}, {1e-4 + 1e-6, 1e-4 + 1e-5, 1e-4 + 1e-4, 1.01 * (1e-4 + 1e-2)});
  CHECK(std::abs(l.alpha - 1e-4) < 0.02e-4);
}

TEST_CASE("communicate::link: measures what a simulated link charges, equal bit for bit on all ranks") {
  for (int P : {2, 4, 5})
    for (auto const with : {timed::all_reduce, timed::all_gather}) {
      std::vector<link_cost> found(static_cast<std::size_t>(P));
      run_ranks(P, [&](thread_communicator& c) {
        double const alpha = 50e-6 * (1 + c.rank()), beta = 8e-9;  // the last rank is the slowest
        delayed slow{c, alpha, beta};
        found[static_cast<std::size_t>(c.rank())] =
            measure_link(slow, {.with = with}, [&] { return slow.simulated_seconds(); });
      });
      double const ranks = P, rounds = std::ceil(std::log2(ranks)), slowest = 50e-6 * ranks;
      bool const sums = with == timed::all_reduce;
      CHECK(near(found[0].alpha, (sums ? 2 : 1) * rounds * slowest));
      CHECK(near(found[0].beta, (sums ? 2 * (ranks - 1) / ranks : ranks - 1) * 8e-9));
      for (auto const& l : found) {
        CHECK(std::bit_cast<std::uint64_t>(l.alpha) == std::bit_cast<std::uint64_t>(found[0].alpha));
        CHECK(std::bit_cast<std::uint64_t>(l.beta) == std::bit_cast<std::uint64_t>(found[0].beta));
      }
    }
}

TEST_CASE("communicate::link: calls that something else made longer do not count") {
  run_ranks(3, [](thread_communicator& c) {
    delayed slow{c, 1e-4, 1e-8};
    double noise = 0;
    int calls = 0;
    auto const clock = [&] {
      if (calls++ % 10 != 3) noise += 0.5;  // of five repetitions one is undisturbed
      return slow.simulated_seconds() + noise;
    };
    auto const l = measure_link(slow, {}, clock);
    test::demand(near(l.alpha, 2 * 2 * 1e-4) && near(l.beta, 2 * 2.0 / 3 * 1e-8), "the noise shows");
  });
}

TEST_CASE("communicate::link: a real clock gives numbers that can be used; one rank alone has a link too") {
  self_communicator alone;
  auto const l = measure_link(alone, {.sizes = {4, 4096}, .repetitions = 2});
  CHECK(l.alpha >= 0);
  CHECK(l.beta >= 0);
  run_ranks(2, [](thread_communicator& c) {
    auto const of_two = measure_link(c, {.with = timed::all_gather, .sizes = {64, 65536}});
    test::demand(std::isfinite(of_two.seconds(1e6)) && of_two.alpha >= 0 && of_two.beta >= 0, "not usable");
  });
}

TEST_CASE("communicate::link: options that cannot be measured are refused") {
  self_communicator alone;
  auto const refused = [&](link_options const& o, char const* why) {
    CHECK_THROWS_WITH_AS(measure_link(alone, o), doctest::Contains(why), configuration_error);
  };
  refused({.sizes = {}}, "at least one size");
  refused({.sizes = {6}}, "multiples of 4, not 6");
  refused({.repetitions = 0}, "repetitions");
}
