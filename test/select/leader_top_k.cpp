// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/leader_top_k.hpp>

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/selector_laws.hpp"

#include <limits>
#include <mutex>

using namespace gradpress;
using namespace gradpress::test;

static_assert(selector<leader_top_k>);
static_assert(leader_top_k::where == support::shared && leader_top_k::fixed_size);
static_assert(kind_of<identity, leader_top_k, unquantized>.combines == combination::sum);

TEST_CASE("select::leader_top_k selects as top_k does, and ranks take turns") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) {
    for (std::size_t const n : law_sizes) {
      auto const x = heavy_tailed(n);
      CHECK(run_select(leader_top_k{d}, x) == run_select(top_k{d}, x));
    }
    check_finiteness(leader_top_k{d});
  }
  lone_rank r(0, 3);
  for (int s = 0; s < 7; ++s) {
    r.ctx.number = static_cast<std::uint64_t>(s);
    CHECK(leader_top_k{}.leader(r.ctx) == s % 3);
  }
}

namespace {
/// What each rank holds after every step, and the bytes that it sent in it.
struct run {
  std::vector<floats> updates, residuals;
  std::vector<std::uint64_t> bytes;
};
template <class Method>
std::vector<run> train(int P, std::size_t n, int steps, Method const& method) {
  std::vector<run> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& comm) {
    reducer r{gradpress::serial{}, comm};
    auto const t = r.add("w", n, 1, method);
    auto& mine = all[static_cast<std::size_t>(comm.rank())];
    for (int s = 0; s < steps; ++s) {
      auto g = heavy_tailed(n, static_cast<std::uint64_t>(10 * s + comm.rank()));
      r.reset_statistics();
      r.average(t, g);
      mine.updates.push_back(g);
      mine.bytes.push_back(r.stats().bytes_sent);
      r.visit(t, [&](char const*, auto b) { mine.residuals.emplace_back(b.data(), b.data() + b.extent(0)); });
    }
  });
  return all;
}
}  // namespace

TEST_CASE("select::leader_top_k updates where the leader's signal is largest, by the mean of all signals there") {
  constexpr std::size_t n = 500;
  constexpr int P = 3, steps = 7;
  auto const all = train(P, n, steps, compress_with(leader_top_k{.density = 0.05}, error_feedback{}));
  std::vector<floats> memory(P, floats(n));
  for (int s = 0; s < steps; ++s) {
    for (int r = 0; r < P; ++r)
      memory[static_cast<std::size_t>(r)] =
          plus(heavy_tailed(n, static_cast<std::uint64_t>(10 * s + r)), memory[static_cast<std::size_t>(r)]);
    auto const support = run_select(top_k{0.05}, memory[static_cast<std::size_t>(s % P)]);
    floats mean(n);
    for (auto const i : support) {
      float sum = 0;
      for (auto& m : memory) sum += m[i];
      mean[i] = sum / P;
      for (auto& m : memory) m[i] = 0;
    }
    auto const at = static_cast<std::size_t>(s);
    for (std::size_t r = 0; r < P; ++r) {
      CHECK(identical(all[r].updates[at], all[0].updates[at]));
      CHECK(identical(all[r].residuals[at], memory[r]));
    }
    for (std::size_t i = 0; i < n; ++i) CHECK(all[0].updates[at][i] == doctest::Approx(mean[i]).epsilon(1e-6));
  }
}

TEST_CASE("select::leader_top_k sends the leader's positions once and values from everybody, whatever P is") {
  constexpr std::size_t n = 1000, k = 50;
  for (int const P : {1, 2, 5}) {
    auto const raw = train(P, n, 3, compress_with(leader_top_k{.density = 0.05}));
    auto const coded = train(P, n, 3, compress_with(leader_top_k{.density = 0.05}, smallest_index{}));
    for (int r = 0; r < P; ++r)
      for (int s = 0; s < 3; ++s) {
        // A size a rank, a header, a section's size, and the positions; then the values.
        std::uint64_t const head = 8 + 32 + 4, lead = s % P == r ? 1 : 0;
        auto const rank = static_cast<std::size_t>(r), at = static_cast<std::size_t>(s);
        CHECK(raw[rank].bytes[at] == head + lead * 4 * k + 4 * k);
        CHECK(coded[rank].bytes[at] == head + lead * smallest_index{}.index_bytes(n, k) + 4 * k);
      }
    for (std::size_t s = 0; s < 3; ++s) CHECK(identical(coded[0].updates[s], raw[0].updates[s]));
  }
}

TEST_CASE("select::leader_top_k reports NaN of the leader and of any other rank, and loses nothing") {
  constexpr int P = 3;
  for (int culprit = 0; culprit < P; ++culprit) {
    std::mutex guard;
    std::vector<std::string> errors;
    run_ranks(P, [&](thread_communicator& comm) {
      reducer r{gradpress::serial{}, comm};
      auto const t = r.add("w", 100, 1, compress_with(leader_top_k{.density = 0.1}, error_feedback{}));
      auto g = heavy_tailed(100, static_cast<std::uint64_t>(comm.rank()));
      if (comm.rank() == culprit) g[57] = std::numeric_limits<float>::quiet_NaN();
      auto const before = g;
      std::string what;
      try {
        r.average(t, g);
      } catch (non_finite_error const& e) {
        what = e.what();
      }
      CHECK(identical(g, before));
      r.visit(
          t, [](char const*, auto b) { CHECK(std::all_of(b.data(), b.data() + 100, [](float v) { return v == 0; })); });
      if (comm.rank() == culprit) g[57] = 1;
      CHECK_NOTHROW(r.average(t, g));  // the same step again
      std::lock_guard const lock(guard);
      errors.push_back(what);
    });
    for (auto const& e : errors) {
      CHECK(e == errors[0]);
      CHECK(e.find("rank " + std::to_string(culprit)) != std::string::npos);
      CHECK(e.find("'w'") != std::string::npos);
    }
  }
}

TEST_CASE("select::leader_top_k has a text form and refuses impossible densities") {
  CHECK(describe(leader_top_k{}) == "leader_top_k(density=0.01)");
  CHECK_THROWS_AS(leader_top_k{.density = 0}.check(), configuration_error);
}
