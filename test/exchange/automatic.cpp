// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/automatic.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <mutex>
#include <sstream>
#include <string>

using namespace gradpress;

static_assert(exchange<automatic>);
static_assert(std::same_as<decltype(compress_with(top_k{}, automatic{}).exchange), automatic>);
static_assert(std::same_as<decltype(compress_with(top_k{}, stochastic_int{}, automatic{}).exchange), automatic>);
// Messages that add up have nothing to choose.
static_assert(std::same_as<decltype(compress_with(random_k{}, automatic{}).exchange), all_reduce>);
static_assert(std::same_as<decltype(compress_with(automatic{}).exchange), all_reduce>);
static_assert(std::same_as<decltype(compress_with(top_k{}).exchange), all_gather>);

namespace {
using host_reducer = reducer<gradpress::serial>;
constexpr std::size_t n = 100000;
constexpr link_costs slow = {{1e-4, 1e-6}, {1e-4, 3e-6}}, fast = {{1e-9, 1e-15}, {1e-9, 1e-15}};

std::vector<float> gradient(int rank, int step, std::size_t size = n) {
  std::vector<float> g(size);
  key const k = key{5}.with(static_cast<std::uint64_t>(rank)).with(static_cast<std::uint64_t>(step));
  for (std::size_t i = 0; i < size; ++i) {
    float const u = k.uniform(i) - 0.5f;
    g[i] = u * u * u;
  }
  return g;
}
automatic::way best(link_costs const& link, message_load const& m) {
  int b = 0;
  for (int w = 1; w < 4; ++w)
    if (automatic::forecast(static_cast<automatic::way>(w), link, m) <
        automatic::forecast(static_cast<automatic::way>(b), link, m))
      b = w;
  return static_cast<automatic::way>(b);
}
/// A link of alpha seconds a message and beta seconds a byte, as collectives of P ranks see it.
link_costs link_of(double alpha, double beta, double P) {
  return {{2 * (P - 1) * alpha, 2 * (P - 1) / P * beta}, {std::ceil(std::log2(P)) * alpha, (P - 1) * beta}};
}
message_load load(double P, double size, double k) { return {P, size, k, 8 * k}; }
}  // namespace

TEST_CASE("exchange::automatic forecasts what the formulas of the exchanges say") {
  CHECK(expected_union(1000, 10, 1) == doctest::Approx(10));
  CHECK(expected_union(1, 0.001, 32) == doctest::Approx(0.0315).epsilon(1e-3));
  CHECK(expected_union(1, 0.01, 32) == doctest::Approx(0.275).epsilon(1e-2));
  CHECK(expected_union(0, 0, 4) == 0);
  // P - 1 messages of 8 k bytes; latencies vanish beside them.
  auto const wire = link_of(0, 1e-8, 4);
  CHECK(automatic::forecast(automatic::gather, wire, load(4, 1e9, 1e6)) ==
        doctest::Approx(3 * 8e6 * 1e-8 + 4 * 1e6 * 4e-9));
  for (int w = 0; w < 4; ++w)
    CHECK(automatic::forecast(static_cast<automatic::way>(w), link_of(1, 1, 1), load(1, 100, 10)) == 0);
}

TEST_CASE("exchange::automatic prefers few messages for little, parts for much, and dense parts for full sums") {
  double const size = 25.6e6;
  CHECK(best(link_of(5e-5, 8e-9, 2), load(2, size, 25600)) == automatic::gather);
  // Many ranks whose union is far from their sum: parts of it arrive once, where a gather brings every copy.
  CHECK(best(link_of(1e-6, 8e-9, 64), load(64, size, 0.05 * size)) != automatic::gather);
  CHECK(best(link_of(1e-6, 8e-9, 64), load(64, size, 0.2 * size)) == automatic::dense_parts);
  // Latency alone: log2 P of it.
  CHECK(best(link_of(1e-2, 1e-12, 64), load(64, 1e4, 10)) == automatic::gather);
}

TEST_CASE("exchange::automatic compresses where the link is slow, with the bits of all_gather") {
  constexpr int P = 3;
  std::mutex guard;
  std::vector<std::vector<float>> results;
  std::vector<std::string> why;
  run_ranks(P, [&](thread_communicator& comm) {
    host_reducer chosen{gradpress::serial{}, comm, {.link = slow}}, named{gradpress::serial{}, comm};
    auto const a = chosen.add("w", n, 1, compress_with(top_k{.density = 0.001}, error_feedback{}, automatic{}));
    auto const b = named.add("w", n, 1, compress_with(top_k{.density = 0.001}, error_feedback{}));
    CHECK(named.choice(b).empty());
    for (int s = 0; s < 5; ++s) {
      auto g = gradient(comm.rank(), s), h = g;
      chosen.average(a, g);
      named.average(b, h);
      CHECK(g == h);
    }
    CHECK(chosen.stats().sent_dense == 0);
    std::lock_guard const lock(guard);
    why.push_back(chosen.choice(a));
  });
  for (auto const& w : why) {
    CHECK(w == why[0]);  // from numbers that all share
    CHECK(w.find("all_gather: compressed ") == 0);
    CHECK(w.find("100 entries a rank, 299 of 100000 expected in the sum") != std::string::npos);
  }
}

TEST_CASE("exchange::automatic sends dense where compression does not pay; the memory empties and stays right") {
  constexpr int P = 3;
  std::vector<std::vector<float>> updates(P);
  run_ranks(P, [&](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm, {.link = fast}};
    auto const method = [](auto memory) { return compress_with(top_k{.density = 0.01}, memory, automatic{}); };
    auto const w = r.add("w", n, 1, method(error_feedback{}));
    auto const v = r.add("v", n, 1, method(ef21{}));
    auto const plain = r.add("plain", n, 1, method(no_feedback{}));
    auto const coded = r.add("coded", n, 1, compress_with(top_k{.density = 0.01}, smallest_index{}, automatic{}));
    auto const sum_of = [&](std::vector<float> const& x) {
      std::vector<float> all(n * P), sum(n);
      comm.all_gather(std::as_bytes(std::span(x)), std::as_writable_bytes(std::span(all)));
      for (std::size_t i = 0; i < n * P; ++i) sum[i % n] += all[i];
      return sum;
    };
    auto const field = [&](host_reducer::tensor t, std::string_view name) {
      std::vector<float> x;
      r.visit(t, [&](char const* f, auto b) {
        if (name == f) x.assign(b.data(), b.data() + b.extent(0));
      });
      return x;
    };
    for (int s = 0; s < 6; ++s) {
      auto const g = gradient(comm.rank(), s);
      auto signal = g;
      auto const before = field(w, "residual");
      for (std::size_t i = 0; i < n; ++i) signal[i] += before[i];
      auto a = g, b = g, c = g, d = g;
      r.stage(w, std::span(a)), r.stage(v, std::span(b)), r.stage(plain, std::span(c)), r.stage(coded, std::span(d));
      r.average();
      auto const after = field(w, "residual");
      auto const signals = sum_of(signal), left = sum_of(after), mine = sum_of(field(v, "mine"));
      auto const mirror = field(v, "mirror");
      bool conserves = true, mirrors = true;
      for (std::size_t i = 0; i < n; ++i) {
        conserves = conserves && std::abs(signals[i] - (P * a[i] + left[i])) < 1e-6f;
        mirrors = mirrors && std::abs(mine[i] / P - mirror[i]) < 1e-6f;
      }
      CHECK(conserves);
      CHECK(mirrors);
      bool const dense = s >= 3;
      CHECK((std::count(after.begin(), after.end(), 0.f) == static_cast<std::ptrdiff_t>(n)) == dense);
      CHECK((std::count(c.begin(), c.end(), 0.f) == 0) == dense);
      CHECK((std::count(d.begin(), d.end(), 0.f) == 0) == dense);
      CHECK(r.choice(w).starts_with("dense: ") == dense);
      if (s == 5) updates[static_cast<std::size_t>(comm.rank())] = a;
    }
    CHECK(r.stats().sent_dense == 3 * 4);
    CHECK(r.method(w) == "identity|top_k(density=0.01)|none|error_feedback|automatic");

    // A skipped step, a save and a load in between change nothing, with an empty memory and with one that fills again.
    std::stringstream file;
    r.save(file);
    auto g = gradient(comm.rank(), 6);
    auto const run = [&](auto x) {
      std::vector<std::vector<float>> all(4, x);
      r.stage(w, std::span(all[0])), r.stage(v, std::span(all[1])), r.stage(plain, std::span(all[2])),
          r.stage(coded, std::span(all[3]));
      r.average();
      return all;
    };
    auto const once = run(g);
    r.rollback();
    CHECK(run(g) == once);
    r.load(file);
    CHECK(run(g) == once);

    // Another density is weighed anew: compressed for three steps, then dense again.
    r.set(w, "density", 0.5);
    CHECK(r.choice(w) == "all_gather: not yet weighed");
    for (int s = 0; s < 4; ++s) {
      auto const all = run(gradient(comm.rank(), 10 + s));
      CHECK((std::count(all[0].begin(), all[0].end(), 0.f) == 0) == (s == 3));
    }
    // NaN is found dense, too.
    auto bad = gradient(comm.rank(), 20);
    if (comm.rank() == 1) bad[n / 2] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(run(bad), non_finite_error);
    CHECK_NOTHROW(run(gradient(comm.rank(), 20)));
  });
  CHECK(updates[0] == updates[1]);
  CHECK(updates[0] == updates[2]);
}

TEST_CASE("exchange::automatic measures the link itself, and all ranks agree on what they found") {
  std::mutex guard;
  std::vector<std::string> why;
  run_ranks(4, [&](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.01}, error_feedback{}, automatic{}));
    auto const small = r.add("small", 10, 1, compress_with(top_k{.density = 0.1}, automatic{}));
    for (int s = 0; s < 5; ++s) {
      auto g = gradient(comm.rank(), s), h = gradient(comm.rank(), s, 10);
      r.stage(w, std::span(g)), r.stage(small, std::span(h));
      r.average();
    }
    std::lock_guard const lock(guard);
    why.push_back(r.choice(w) + r.choice(small));
  });
  for (auto const& w : why) CHECK(w == why[0]);
  CHECK(why[0].find("all-reduce ") != std::string::npos);
}

TEST_CASE("exchange::automatic weighs nothing where there is little, or one rank") {
  run_ranks(2, [](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm, {.link = fast}};
    auto const w = r.add("w", 1000, 1, compress_with(top_k{.density = 0.01}, automatic{}));
    for (int s = 0; s < 5; ++s) {
      auto g = gradient(comm.rank(), s, 1000);
      r.average(w, g);
    }
    CHECK(r.choice(w) == "all_gather: too little to weigh");
    CHECK(r.stats().sent_dense == 0);
  });
}

TEST_CASE("exchange::automatic: ranks that were told of different links find out before the first byte") {
  run_ranks(2, [](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm, {.link = comm.rank() == 0 ? slow : fast}};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.01}, automatic{}));
    auto g = gradient(comm.rank(), 0);
    try {
      r.average(w, g);
      CHECK(false);
    } catch (configuration_error const& e) {
      CHECK(std::string(e.what()).find("'w'") != std::string::npos);
    }
  });
}

TEST_CASE("exchange::automatic weighs tensors that are staged in turn, each by its own messages") {
  std::mutex guard;
  std::vector<std::string> why;
  run_ranks(2, [&](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm, {.link = slow}};
    auto const few = r.add("few", n, 1, compress_with(top_k{.density = 0.001}, error_feedback{}, automatic{}));
    auto const many = r.add("many", n, 1, compress_with(top_k{.density = 0.01}, error_feedback{}, automatic{}));
    for (int s = 0; s < 10; ++s) {
      auto g = gradient(comm.rank(), s);
      r.average(s % 2 == 0 ? few : many, g);
    }
    std::lock_guard const lock(guard);
    why.push_back(r.choice(few)), why.push_back(r.choice(many));
  });
  for (std::size_t i = 0; i < why.size(); i += 2) {
    CHECK(why[i].find("100 entries a rank") != std::string::npos);
    CHECK(why[i + 1].find("1000 entries a rank") != std::string::npos);
  }
}

TEST_CASE("exchange::automatic, about to weigh, reads no gradient that was staged wrongly") {
  run_ranks(2, [](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm, {.link = slow}};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.001}, error_feedback{}, automatic{}));
    for (int s = 0; s < 3; ++s) {
      auto g = gradient(comm.rank(), s);
      r.average(w, g);
    }
    bool refused = false;
    try {
      if (comm.rank() == 0)
        r.average(w, static_cast<float*>(nullptr));
      else {
        std::vector<float> seven(7);
        r.average(w, std::span(seven));
      }
    } catch (configuration_error const&) {
      refused = true;
    }
    auto g = gradient(comm.rank(), 3);
    r.average(w, g);
    if (!refused || r.choice(w).find("100 entries a rank") == std::string::npos)
      throw std::runtime_error("a wrong gradient was taken, or the weighing was lost");
  });
}
