// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/gather_top_k.hpp>

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/faulty.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/averaging.hpp"

#include <atomic>
#include <numeric>

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<gather_top_k>);
static_assert(gather_top_k::accepts({.combines = combination::merge}));
static_assert(!gather_top_k::accepts({.combines = combination::merge, .fixed_size = false}) &&
              !gather_top_k::accepts({.combines = combination::sum}) && !gather_top_k::accepts({}));

namespace {
auto by(double density) { return compress_with(top_k{.density = density}, error_feedback{}, gather_top_k{}); }

floats largest_of(floats const& x, std::size_t k) {
  std::vector<index_t> order(x.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return std::abs(x[a]) != std::abs(x[b]) ? std::abs(x[a]) > std::abs(x[b]) : a < b;
  });
  floats kept(x.size());
  for (std::size_t i = 0; i < k; ++i) kept[order[i]] = x[order[i]];
  return kept;
}
/// Top-k of the sum of top-k, on dense vectors.
floats twice(std::vector<floats> all, std::size_t k) {
  for (auto& x : all) x = largest_of(x, k);
  floats sum(all[0].size());
  for (auto const& x : all) sum = plus(sum, x);
  return largest_of(sum, k);
}
}  // namespace

TEST_CASE("exchange::gather_top_k is the top-k of the exact sum for any number of ranks") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 33u, 1000u, 20000u})
      for (double const density : {0.001, 0.05, 0.5, 1.0}) {
        CAPTURE(P);
        CAPTURE(n);
        CAPTURE(density);
        auto const g = gradients_of(P, n);
        auto const k = kept_of(density, n);
        auto expected = twice(g, k);
        for (auto& v : expected) v /= static_cast<float>(P);
        auto const step = average_once(g, by(density));
        CHECK(step.updates[0] == expected);
        for (auto const b : step.bytes) CHECK(b == 32 + 8 * k);
        for (auto const m : step.messages) CHECK(m == 1);
      }
}

TEST_CASE("exchange::gather_top_k: nothing vanishes, and what is kept left every memory") {
  // The tree of gtop_k with the published put-back loses 2.0 here.
  std::vector<floats> const g = {{2, 0, 0}, {0, 3, 0}, {2, 0, 0}, {2.5f, 0, 0}};
  auto const step = average_once(g, by(0.01));
  CHECK(step.updates[0] == floats{6.5f / 4, 0, 0});
  CHECK(vanished(g, step) == 0.0);
  for (std::size_t p : {0u, 2u, 3u}) CHECK(step.memories[p].at("residual") == floats{0, 0, 0});
  CHECK(step.memories[1].at("residual") == floats{0, 3, 0});  // sent, not kept: back where it came from
  for (std::size_t P = 2; P <= 9; ++P) {
    std::vector<floats> exact(P, floats(200));  // small integers: sums are exact, and so is the law
    for (std::size_t p = 0; p < P; ++p)
      for (std::size_t i = 0; i < 200; ++i) exact[p][i] = 840.f * std::round(10 * heavy_tailed(200, p + 1)[i]);
    if (P != 9) CHECK(vanished(exact, average_once(exact, by(0.05))) == 0.0);
    auto const random = gradients_of(P, 200);
    CHECK(vanished(random, average_once(random, by(0.05))) < 1e-4);
  }
}

TEST_CASE("exchange::gather_top_k keeps the bits of all_gather where it keeps anything") {
  auto const g = gradients_of(5, 1000);
  auto const kept = average_once(g, by(0.05)).updates[0],
             all = average_once(g, compress_with(top_k{.density = 0.05}, error_feedback{})).updates[0];
  std::size_t entries = 0;
  for (std::size_t i = 0; i < 1000; ++i)
    if (kept[i] != 0) {
      CHECK(kept[i] == all[i]);
      ++entries;
    }
  CHECK(entries == 50);
}

TEST_CASE("exchange::gather_top_k: nothing there, entries that cancel, ties, sums that overflow") {
  for (std::size_t P : {1u, 2u, 5u}) CHECK(average_once(std::vector<floats>(P), by(0.5)).updates[0].empty());
  CHECK(average_once({{1, 0}, {-1, 0}}, by(0.5)).updates[0] == floats{0, 0});
  CHECK(average_once({{0, 8, 0}, {0, 0, 8}}, by(0.34)).updates[0] == floats{0, 4, 0});
  CHECK_THROWS_AS(average_once({{3e38f, 1}, {3e38f, 1}}, by(0.5)), non_finite_error);
}

TEST_CASE("exchange::gather_top_k calls one gather, and what it counts is what passes") {
  run_ranks(3, [](thread_communicator& c) {
    counting<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", 500, 1, by(0.1));
    auto g = heavy_tailed(500, static_cast<std::uint64_t>(c.rank()));
    r.average(w, std::span(g));
    CHECK(comm.counts().size() == 1);
    CHECK(comm.bytes() == r.stats().bytes_sent + r.stats().control_bytes);
    CHECK(r.stats().bytes_sent == 32 + 8 * 50);
  });
}

TEST_CASE("exchange::gather_top_k: any damaged byte is a payload_error on all ranks, and nothing has changed") {
  constexpr std::size_t n = 20, size = 32 + 8 * 4;
  for (std::size_t where = 0; where < 3 * size; where += 5) {
    CAPTURE(where);
    std::atomic<int> errors{0}, wrong{0};
    run_ranks(3, [&](thread_communicator& c) {
      bool const victim = c.rank() == 1;
      faulty<thread_communicator&> comm{c, {.throws_at = -1, .corrupts = [&](long, std::span<std::byte> in) {
                                              if (victim && in.size() == 3 * size) in[where] ^= std::byte{0x10};
                                            }}};
      reducer r{gradpress::serial{}, comm};
      auto const w = r.add("w", n, 1, by(0.2));
      auto const g = heavy_tailed(n, static_cast<std::uint64_t>(c.rank() + 1));
      auto x = g;
      try {
        r.average(w, std::span(x));
      } catch (payload_error const&) {
        ++errors;
      }
      bool clean = identical(x, g) && r.step_number() == 0;
      r.visit(w, [&](char const*, auto const& b) { clean = clean && copied(b) == floats(n); });
      if (!clean) ++wrong;
    });
    CHECK(errors == 3);
    CHECK(wrong == 0);
  }
}

TEST_CASE("exchange::gather_top_k: sealed messages with bad indices are refused before anything is added") {
  // What no honest rank sends, under a correct checksum.
  std::vector<std::vector<index_t>> const bad = {{1, 1}, {2, 1}, {0, 7}, {0, 0xffffffffu}};
  for (auto const& indices : bad) {
    std::atomic<int> errors{0};
    run_ranks(2, [&](thread_communicator& c) {
      auto const rewrite = [&](long, std::span<std::byte> in) {
        constexpr std::size_t size = 32 + 16;
        if (c.rank() != 1 || in.size() != 2 * size) return;
        auto const m = in.first(size);
        std::memcpy(m.data() + 32, indices.data(), 8);
        auto const sum = checksum(m.subspan(32));
        std::memcpy(m.data() + 24, &sum, 8);
      };
      faulty<thread_communicator&> comm{c, {.throws_at = -1, .corrupts = rewrite}};
      reducer r{gradpress::serial{}, comm};
      auto const w = r.add("w", 7, 1, by(0.3));
      floats g = {1, 2, 3, 4, 5, 6, 7};
      try {
        r.average(w, std::span(g));
      } catch (payload_error const& e) {
        if (std::string(e.what()).find("indices that do not ascend inside the tensor") != std::string::npos) ++errors;
      }
    });
    CHECK(errors == 2);
  }
}

TEST_CASE("exchange::gather_top_k has a text form") { CHECK(describe(gather_top_k{}) == "gather_top_k"); }
