// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/ok_top_k.hpp>

#include <gradpress/exchange/gather_top_k.hpp>

#include "../support/sparse_sums.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<ok_top_k>);
static_assert(ok_top_k::accepts({.combines = combination::merge}));
static_assert(!ok_top_k::accepts({.combines = combination::merge, .fixed_size = false}) &&
              !ok_top_k::accepts({.combines = combination::sum}) && !ok_top_k::accepts({}));

namespace {
/// A step's gradient: of one scale, at places that all ranks like and at places of their own.
floats gradient_in(int rank, int step, std::size_t n) {
  auto const common = heavy_tailed(n, 7), own = heavy_tailed(n, static_cast<std::uint64_t>(1000 + 50 * step + rank));
  return plus(common, own);
}
struct history {
  std::vector<floats> updates, memories;
  std::vector<std::uint64_t> sent, received;  ///< a step
};
template <class X>
std::vector<history> train(int P, std::size_t n, double density, int steps, X exchange) {
  std::vector<history> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& c) {
    auto& h = all[static_cast<std::size_t>(c.rank())];
    counting<thread_communicator&> comm{c};
    reducer r{serial{}, comm};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = density}, error_feedback{}, exchange));
    for (int s = 0; s < steps; ++s) {
      auto g = gradient_in(c.rank(), s, n);
      r.reset_statistics();
      comm.reset();
      r.average(w, std::span(g));
      h.updates.push_back(g);
      h.sent.push_back(r.stats().bytes_sent);
      h.received.push_back(comm.received() - 96 * static_cast<std::uint64_t>(P - 1));  // agreement and vote
      r.visit(w, [&](char const* name, auto const& b) {
        if (std::string_view(name) == "residual") h.memories.push_back(copied(b));
      });
    }
  });
  return all;
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

TEST_CASE("exchange::ok_top_k: a rollback, a failed step and a checkpoint leave threshold and regions as they were") {
  constexpr std::size_t n = 3000;
  auto const method = compress_with(top_k{.density = 0.02}, error_feedback{}, ok_top_k{.period = 5, .rebalance = 3});
  run_ranks(3, [&](thread_communicator& c) {
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
    if (c.rank() == 1) poisoned[5] = std::numeric_limits<float>::quiet_NaN();
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
  });
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
}

TEST_CASE("exchange::ok_top_k checks its knobs and has a text form") {
  CHECK(describe(ok_top_k{}) == "ok_top_k(period=32,rebalance=64)");
  CHECK_THROWS_AS(ok_top_k{.period = 0}.check(), configuration_error);
  CHECK_THROWS_AS(ok_top_k{.rebalance = 0}.check(), configuration_error);
}
