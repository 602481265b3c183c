// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/ok_top_k.hpp>

#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/select/reused_top_k.hpp>

#include "../support/sparse_sums.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<ok_top_k>);
static_assert(ok_top_k::accepts({.combines = combination::merge}) &&
              ok_top_k::accepts({.combines = combination::merge, .fixed_size = false}));
static_assert(!ok_top_k::accepts({.combines = combination::sum}) && !ok_top_k::accepts({}));

namespace {
/// A step's gradient: of one scale, at places that all ranks like and at places of their own.
floats gradient_in(int rank, int step, std::size_t n) {
  auto const common = heavy_tailed(n, 7), own = heavy_tailed(n, static_cast<std::uint64_t>(1000 + 50 * step + rank));
  return plus(common, own);
}
struct history {
  std::vector<floats> updates, memories;
  std::vector<std::uint64_t> sent, received;  ///< a step
  std::vector<std::uint64_t> gathered;        ///< a step: what this rank handed to the gather of sums
};
template <class Method, class Gradient = floats (*)(int, int, std::size_t)>
std::vector<history> train_by(Method const& method, int P, std::size_t n, int steps,
                              Gradient const& gradient = gradient_in) {
  std::vector<history> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& c) {
    auto& h = all[static_cast<std::size_t>(c.rank())];
    counting<thread_communicator&> comm{c};
    reducer r{serial{}, comm};
    auto const w = r.add("w", n, 1, method);
    for (int s = 0; s < steps; ++s) {
      auto g = gradient(c.rank(), s, n);
      r.reset_statistics();
      comm.reset();
      r.average(w, std::span(g));
      h.updates.push_back(g);
      h.sent.push_back(r.stats().bytes_sent);
      h.received.push_back(comm.received() - 96 * static_cast<std::uint64_t>(P - 1));  // agreement and vote
      h.gathered.push_back(comm.counts().count("all_gather_v") > 0 ? comm.counts().at("all_gather_v").bytes : 0);
      r.visit(w, [&](char const* name, auto const& b) {
        if (std::string_view(name) == "residual") h.memories.push_back(copied(b));
      });
    }
  });
  return all;
}
template <class X, class Gradient = floats (*)(int, int, std::size_t)>
std::vector<history> train(int P, std::size_t n, double density, int steps, X exchange,
                           Gradient const& gradient = gradient_in) {
  return train_by(compress_with(top_k{.density = density}, error_feedback{}, exchange), P, n, steps, gradient);
}
std::size_t entries(floats const& x) {
  return x.size() - static_cast<std::size_t>(std::count(x.begin(), x.end(), 0.f));
}
}  // namespace

TEST_CASE("exchange::ok_top_k with a threshold that is always exact is gather_top_k, step for step") {
  for (int P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 31u, 32u, 33u, 1000u})
      for (double const density : {0.01, 0.2, 0.6, 1.0}) {
        CAPTURE(P);
        CAPTURE(n);
        CAPTURE(density);
        auto const ours = train(P, n, density, 3, ok_top_k{.period = 1, .rebalance = 2});
        auto const theirs = train(P, n, density, 3, gather_top_k{});
        for (std::size_t p = 0; p < ours.size(); ++p) {
          CHECK(ours[p].updates == theirs[p].updates);
          CHECK(ours[p].memories == theirs[p].memories);
        }
      }
  for (std::size_t P : {1u, 2u, 5u})
    CHECK(average_once(std::vector<floats>(P), compress_with(top_k{}, ok_top_k{})).updates[0].empty());
}

TEST_CASE("exchange::ok_top_k: a reused threshold lets about k pass, nothing vanishes, and few bytes arrive") {
  constexpr std::size_t n = 20000, k = 200;
  constexpr int steps = 70;
  for (int P : {2, 3, 8}) {
    CAPTURE(P);
    auto const all = train(P, n, 0.01, steps, ok_top_k{});
    std::vector<floats> memories(all.size(), floats(n));
    std::size_t least = k;
    for (int s = 0; s < steps; ++s) {
      auto const at = static_cast<std::size_t>(s);
      for (auto const& h : all) CHECK(identical(h.updates[at], all[0].updates[at]));
      step_of_ranks step;
      std::vector<floats> signals;
      for (std::size_t p = 0; p < all.size(); ++p) {
        signals.push_back(plus(gradient_in(static_cast<int>(p), s, n), memories[p]));
        memories[p] = all[p].memories[at];
        step.memories.push_back({{"residual", memories[p]}});
      }
      step.updates.assign(all.size(), all[0].updates[at]);
      CHECK(vanished(signals, step) < 0.02);
      CHECK(entries(all[0].updates[at]) <= k);
      if (s > 0) least = std::min(least, entries(all[0].updates[at]));
      for (auto const& h : all)
        if (s % 32 != 0) {  // 4 bytes a word; 16 a size and 32 + 4 a letter, whatever k is
          CHECK(h.received[at] <= 4 * 6 * k + static_cast<std::size_t>(P) * 120);
          CHECK(h.sent[at] <= 4 * 6 * k + static_cast<std::size_t>(P) * 120);
        }
    }
    CHECK(least > k / 2);
    MESSAGE("P = ", P, ": fewest entries kept ", least, " of ", k, ", bytes received in step 40: ", all[0].received[40],
            " (k entries are ", 8 * k, ")");
  }
}

TEST_CASE("exchange::ok_top_k: regions follow the entries, and messages stay even where all of them lie together") {
  constexpr std::size_t n = 8000, k = 80, P = 4;
  std::vector<floats> g(P, floats(n));
  for (std::size_t p = 0; p < P; ++p)
    for (std::size_t i = 0; i < 200; ++i) g[p][4000 + i] = 1 + key{p + 3}.uniform(i);  // one of 40 even parts
  auto const step = average_once(g, compress_with(top_k{.density = 0.01}, error_feedback{}, ok_top_k{}));
  CHECK(vanished(g, step) < 1e-3);
  for (std::size_t p = 0; p < P; ++p) {
    auto const even = 8.0 * k * (P - 1) / P;  // of its own entries to others; a sum of at most k
    CHECK(static_cast<double>(step.bytes[p]) > even * 0.8);
    CHECK(static_cast<double>(step.bytes[p]) < even * 1.2 + 8 * k + 300);
  }
}

namespace {
/// Checks replicas and conservation of every step.
template <class Gradient>
void check_kept_together(std::vector<history> const& all, int steps, std::size_t n, Gradient const& gradient,
                         double tolerance) {
  std::vector<floats> memories(all.size(), floats(n));
  for (int s = 0; s < steps; ++s) {
    auto const at = static_cast<std::size_t>(s);
    CAPTURE(s);
    step_of_ranks step;
    std::vector<floats> signals;
    for (std::size_t p = 0; p < all.size(); ++p) {
      CHECK(identical(all[p].updates[at], all[0].updates[at]));
      signals.push_back(plus(gradient(static_cast<int>(p), s, n), memories[p]));
      memories[p] = all[p].memories[at];
      step.memories.push_back({{"residual", memories[p]}});
    }
    step.updates.assign(all.size(), all[0].updates[at]);
    CHECK(vanished(signals, step) < tolerance);
  }
}
}  // namespace

TEST_CASE("exchange::ok_top_k: nothing vanishes, and 6 k words arrive on average, for 1 to 9 ranks") {
  constexpr std::size_t n = 3000, k = 60;
  constexpr int steps = 14;
  for (int P = 1; P <= 9; ++P) {
    CAPTURE(P);
    auto const all = train(P, n, 0.02, steps, ok_top_k{.period = 5, .rebalance = 3});
    check_kept_together(all, steps, n, gradient_in, 0.01);
    auto const ranks = static_cast<std::uint64_t>(P), heads = 132 * ranks + 4 * ranks * ranks;  // with regions
    for (std::size_t s = 1; s < steps; ++s) {
      if (s % 5 == 0) continue;
      std::uint64_t received = 0;
      for (auto const& h : all) received += h.received[s];
      CHECK(received <= ranks * (6 * 4 * k + heads));
    }
  }
}

TEST_CASE(
    "exchange::ok_top_k with reused_top_k: nothing vanishes, 6 k words arrive, and both thresholds are exact again") {
  constexpr std::size_t n = 3000, k = 60;
  constexpr int steps = 14;
  for (int P = 1; P <= 9; ++P) {
    CAPTURE(P);
    auto const all = train_by(compress_with(reused_top_k{.density = 0.02, .period = 5}, error_feedback{},
                                            ok_top_k{.period = 5, .rebalance = 3}),
                              P, n, steps);
    check_kept_together(all, steps, n, gradient_in, 0.01);
    auto const ranks = static_cast<std::uint64_t>(P), heads = 132 * ranks + 4 * ranks * ranks;  // with regions
    for (std::size_t s = 0; s < steps; ++s) {
      CHECK(entries(all[0].updates[s]) <= k);
      if (s % 5 == 0) {
        CHECK(entries(all[0].updates[s]) == k);
        continue;
      }
      CHECK(entries(all[0].updates[s]) > k / 2);
      std::uint64_t received = 0;
      for (auto const& h : all) received += h.received[s];
      CHECK(received <= ranks * (6 * 4 * k + heads));
    }
  }
}

TEST_CASE("exchange::ok_top_k with reused_top_k, both exact in every step, is gather_top_k of top_k") {
  for (int P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const ours = train_by(compress_with(reused_top_k{.density = 0.1, .period = 1}, error_feedback{},
                                               ok_top_k{.period = 1, .rebalance = 2}),
                                 P, n, 3);
      auto const theirs = train(P, n, 0.1, 3, gather_top_k{});
      for (std::size_t p = 0; p < ours.size(); ++p) {
        CHECK(ours[p].updates == theirs[p].updates);
        CHECK(ours[p].memories == theirs[p].memories);
      }
    }
}

TEST_CASE("exchange::ok_top_k with a selector that bounds no number is the exact sum") {
  for (int P : {1, 2, 3, 8}) {
    CAPTURE(P);
    auto const ours = train_by(compress_with(threshold{.tau = 0.4}, error_feedback{}, ok_top_k{}), P, 500, 4);
    auto const theirs = train_by(compress_with(threshold{.tau = 0.4}, error_feedback{}, all_gather{}), P, 500, 4);
    for (std::size_t p = 0; p < ours.size(); ++p) {
      CHECK(ours[p].updates == theirs[p].updates);
      CHECK(ours[p].memories == theirs[p].memories);
    }
  }
  auto const whole = train(3, 40, 1.0, 3, ok_top_k{});  // k = n: no threshold comes of it
  for (auto const& m : whole[0].memories) CHECK(entries(m) == 0);
}

TEST_CASE("exchange::ok_top_k: a region that has more than its share hands it on to the others") {
  constexpr std::size_t n = 8000, k = 80, P = 8;
  auto const gradient = [](int rank, int step, std::size_t) {
    floats g(n);
    auto const p = static_cast<std::size_t>(rank);
    for (std::size_t i = 0; i < k; ++i) {
      if (step == 0) g[100 * i] = 1;  // ten in each region; the threshold is 8
      if (step == 1) g[i] = 2;        // all in the first
      if (step == 2) g[i < 60 ? 100 + 70 * p + i : 1000 * (1 + i % 7) + 20 * p + i % 20] = 99;  // 640 that all pass
    }
    return g;
  };
  auto const all = train(P, n, 0.01, 3, ok_top_k{}, gradient);
  check_kept_together(all, 3, n, gradient, 1e-6);
  for (auto const& u : all[0].updates) CHECK(entries(u) == k);
  auto const sum_of = [&](std::size_t step) {
    std::uint64_t sum = 0;
    for (auto const& h : all) sum += h.gathered[step];
    return sum;
  };
  CHECK(sum_of(1) == P * 36 + 8 * k);
  CHECK(sum_of(2) <= P * 36 + 8 * (2 * k + P));
  CHECK(sum_of(2) >= P * 36 + 8 * 2 * k);
  for (std::size_t const step : {1u, 2u})
    for (auto const& h : all) CHECK(h.gathered[step] <= 2 * ((sum_of(step) + P - 1) / P));
  for (auto const& h : all) CHECK(h.gathered[1] <= (sum_of(1) + 4 * P) / P);
  // the fullest region alone is cut: what others have passes whole
  for (std::size_t i = 1000; i < n; ++i) CHECK((all[0].memories[2][i] == 0 || all[0].memories[2][i] == 99.f));
}

TEST_CASE("exchange::ok_top_k: a rollback, a failed step and a checkpoint leave threshold and regions as they were") {
  constexpr std::size_t n = 3000;
  auto const check = [&](thread_communicator& c, auto const& method) {
    reducer r{serial{}, c}, other{serial{}, c};
    auto const w = r.add("w", n, 1, method), v = other.add("w", n, 1, method);
    auto const run = [&](auto& red, auto t, int s) {
      auto g = gradient_in(c.rank(), s, n);
      red.average(t, std::span(g));
      return g;
    };
    for (int s = 0; s < 7; ++s) run(r, w, s);
    std::stringstream file;
    r.save(file);
    auto const before = file.str();  // threshold and regions among it
    auto const saved = [&] {
      std::stringstream now;
      r.save(now);
      return now.str();
    };
    auto const first = run(r, w, 7);
    demand(entries(first) > 0 && entries(first) <= 60, "at most k entries are kept");
    demand(saved() != before, "a step changes the state");
    r.rollback();
    demand(saved() == before, "a rollback brings the state back");
    auto poisoned = gradient_in(c.rank(), 7, n);
    if (c.rank() == c.size() - 1) poisoned[5] = std::numeric_limits<float>::quiet_NaN();
    bool failed = false;
    try {
      r.average(w, std::span(poisoned));
    } catch (non_finite_error const&) {
      failed = true;
    }
    demand(failed, "NaN is an error");
    demand(identical(run(r, w, 7), first), "the step repeats after a rollback and a failure");
    other.load(file);
    demand(identical(run(other, v, 7), first), "the step repeats after a load");
    for (int s = 8; s < 12; ++s) demand(identical(run(r, w, s), run(other, v, s)), "and so do those after it");
    r.rollback();
    other.rollback();
    demand(identical(run(r, w, 11), run(other, v, 11)), "and a step that was taken back");
  };
  for (int P = 1; P <= 9; ++P) {
    CAPTURE(P);
    ok_top_k const often{.period = 5, .rebalance = 3};
    CHECK_NOTHROW(run_ranks(P, [&](thread_communicator& c) {
      check(c, compress_with(top_k{.density = 0.02}, error_feedback{}, often));
      check(c, compress_with(reused_top_k{.density = 0.02, .period = 4}, error_feedback{}, often));
    }));
  }
}

TEST_CASE("exchange::ok_top_k: a threshold that was reused decides: without it more is sent") {
  auto const reused = train(4, 20000, 0.01, 40, ok_top_k{}), exact = train(4, 20000, 0.01, 40, ok_top_k{.period = 1});
  for (std::size_t s : {20u, 30u, 39u}) CHECK(reused[0].received[s] < exact[0].received[s]);
}

TEST_CASE("exchange::ok_top_k: several tensors travel in one message; any transport gives the same") {
  check_fused_and_derived(ok_top_k{.period = 2, .rebalance = 2});
}

TEST_CASE("exchange::ok_top_k: sums that overflow are an error") {
  CHECK_THROWS_AS(average_once({{3e38f, 1, 0, 0, 0}, {3e38f, 1, 0, 0, 0}},
                               compress_with(top_k{.density = 0.2}, error_feedback{}, ok_top_k{})),
                  non_finite_error);
}

TEST_CASE("exchange::ok_top_k: any damaged byte is one error on all ranks, and nothing has changed") {
  check_damage(ok_top_k{});
  check_damage_of(compress_with(reused_top_k{.density = 0.1}, error_feedback{}, ok_top_k{}));
}

TEST_CASE("exchange::ok_top_k checks its knobs and has a text form") {
  CHECK(describe(ok_top_k{}) == "ok_top_k(period=32,rebalance=64)");
  CHECK_THROWS_AS(ok_top_k{.period = 0}.check(), configuration_error);
  CHECK_THROWS_AS(ok_top_k{.rebalance = 0}.check(), configuration_error);
}
