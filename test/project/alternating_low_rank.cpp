// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/alternating_low_rank.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/matrices.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<alternating_low_rank> && takes_courses<alternating_low_rank>);
static_assert(alternating_low_rank{.rank = 2}.coefficients({7, 5}, 0) == 14);

TEST_CASE("project::alternating_low_rank obeys the laws of projectors, in both turns") {
  for (int const rank : {1, 2, 4, 32}) check_projector(alternating_low_rank{.rank = rank});
  projecting<alternating_low_rank> at({.rank = 2}, {7, 5});
  CHECK(at.count(0) == 14);
  at.step(heavy_tailed(35));
  CHECK(at.count(0) == 10);
  auto const second = at.kept();
  auto const again = heavy_tailed(35, 2);
  at.step(again);
  CHECK(at.count(0) == 14);
  at.state.undo();
  CHECK(identical(at.kept(), second));
}

TEST_CASE("project::alternating_low_rank is exact from the second step on where the mean keeps its rank") {
  shape const d{40, 25};
  for (std::size_t const r : {1u, 2u, 4u}) {
    auto const m = of_rank(r, d, 7);
    projecting<alternating_low_rank> at({.rank = static_cast<int>(r)}, d);
    at.step(m);
    for (int s = 0; s < 3; ++s) {
      CAPTURE(r);
      CHECK(distance(at.step(m), m) <= 1e-5 * std::sqrt(squared(m)));
    }
  }
}

TEST_CASE("project::alternating_low_rank: what it delivers and what it leaves are orthogonal, in both turns") {
  shape const d{20, 15};
  projecting<alternating_low_rank> at({.rank = 3}, d);
  for (int s = 0; s < 4; ++s) {
    auto const m = heavy_tailed(d.size(), static_cast<std::uint64_t>(s));
    auto const given = at.step(m);
    auto const lost = distance(given, m);
    CHECK(squared(given) + lost * lost == doctest::Approx(squared(m)).epsilon(1e-5));
    CHECK(lost > 0.1 * std::sqrt(squared(m)));
  }
}

TEST_CASE("project::alternating_low_rank comes back from a gradient of zeros, and counts what it drew") {
  shape const d{12, 9};
  auto const m = of_rank(1, d, 3);
  projecting<alternating_low_rank> at({.rank = 2}, d), twin({.rank = 2}, d, 2);
  for (int s = 0; s < 4; ++s) {
    CHECK(squared(at.step(floats(d.size()))) == 0);
    twin.step(floats(d.size()));
    CHECK(at.state.redrawn == 2);
    CHECK(identical(at.kept(), twin.kept()));
  }
  at.step(m);
  CHECK(distance(at.step(m), m) <= 1e-5 * std::sqrt(squared(m)));
}

namespace {
/// How far replicas are apart after a few steps of ranks whose seeds are equal, or not.
double parting(bool same_seed) {
  shape const d{12, 10};
  std::vector<floats> updates(3);
  run_ranks(3, [&](thread_communicator& c) {
    // The reducer refuses other seeds, so the projector alone: what every rank does with the mean.
    auto const p = alternating_low_rank{.rank = 2};
    lone_rank r(c.rank(), 3);
    r.ctx.seed = same_seed ? 1 : 1 + static_cast<std::uint64_t>(c.rank());
    state_of<alternating_low_rank, host> s(p, r.ctx, d);
    floats x(d.size());
    for (int step = 0; step < 3; ++step) {
      floats const g = heavy_tailed(d.size(), static_cast<std::uint64_t>(10 * step + c.rank()));
      floats room(p.coefficients(d, 0)), out(d.size());
      auto const n = p.coefficients(d, 0, s);
      p.project(r.ctx, d, 0, over(g), s, view<host>(room.data(), n));
      room.resize(n);
      std::vector<float> all(3 * n);
      c.all_gather(std::as_bytes(std::span(room)), std::as_writable_bytes(std::span(all)));
      for (std::size_t i = 0; i < n; ++i) room[i] = (all[i] + all[n + i] + all[2 * n + i]) / 3;
      p.lift(r.ctx, d, over(std::as_const(room)), s, over(out));
      p.commit(r.ctx, d, over(std::as_const(room)), s);
      r.release();
      for (std::size_t i = 0; i < x.size(); ++i) x[i] -= out[i];
    }
    updates[static_cast<std::size_t>(c.rank())] = x;
  });
  return std::max(distance(updates[0], updates[1]), distance(updates[0], updates[2]));
}
}  // namespace

TEST_CASE("project::alternating_low_rank: replicas part where ranks start from other seeds, and only there") {
  CHECK(parting(true) == 0);
  CHECK(parting(false) > 0.1);
}

TEST_CASE("reducer: alternating_low_rank sends one message a step, half of low_rank's bytes, and goes on from a file") {
  constexpr int P = 3;
  shape const d{64, 48};
  run_ranks(P, [&](thread_communicator& c) {
    using host_reducer = reducer<gradpress::serial>;
    auto const method = compress_with(alternating_low_rank{.rank = 4}, error_feedback{});
    host_reducer r{gradpress::serial{}, c};
    r.add("w", d.rows, d.cols, method);
    auto const step = [&](host_reducer& with, std::uint64_t s) {
      auto g = heavy_tailed(d.size(), 7 * s + static_cast<std::uint64_t>(c.rank()));
      with.average(with.find("w"), std::span(g));
      return g;
    };
    step(r, 0), step(r, 1);
    require(r.stats().messages == 2, "one message a step");
    require(r.stats().bytes_sent < 2 * 4 * 4 * (d.rows + d.cols) / 2 + 200, "half the bytes");
    std::ostringstream file;
    r.save(file);
    auto const third = step(r, 2), fourth = step(r, 3);
    host_reducer other{gradpress::serial{}, c};
    other.add("w", d.rows, d.cols, method);
    std::istringstream again(file.str());
    other.load(again);
    require(identical(step(other, 2), third) && identical(step(other, 3), fourth), "goes on from a file");
    other.rollback();
    require(identical(step(other, 3), fourth), "goes on after a rollback");
  });
}

TEST_CASE("reducer: another rank of a live alternating_low_rank loses nothing, in either turn") {
  constexpr int P = 2;
  shape const d{24, 18};
  run_ranks(P, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, compress_with(alternating_low_rank{.rank = 2}, error_feedback{}));
    floats sent(d.size()), residual;
    std::vector<double> gone(d.size());
    int const ranks[] = {2, 4, 4, 1, 3, 3, 18};
    for (std::uint64_t s = 0; s < 7; ++s) {
      r.set(w, "rank", ranks[s]);
      auto g = heavy_tailed(d.size(), 100 * s + static_cast<std::uint64_t>(c.rank()));
      for (std::size_t i = 0; i < g.size(); ++i) sent[i] += g[i];
      r.average(w, std::span(g));
      for (std::size_t i = 0; i < g.size(); ++i) gone[i] += static_cast<double>(P) * static_cast<double>(g[i]);
    }
    r.visit(w, [&](char const* name, auto const& b) {
      if (std::string(name) == "residual") residual = copied(b);
    });
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] -= residual[i];
    std::vector<float> all(P * d.size());
    c.all_gather(std::as_bytes(std::span(sent)), std::as_writable_bytes(std::span(all)));
    double lost = 0, whole = 0;
    for (std::size_t i = 0; i < d.size(); ++i) {
      lost += std::pow(static_cast<double>(all[i]) + static_cast<double>(all[d.size() + i]) - gone[i], 2);
      whole += gone[i] * gone[i];
    }
    require(lost < 1e-8 * whole, "something was lost");
  });
}

TEST_CASE("project::alternating_low_rank has a text form and refuses ranks outside 1..32") {
  CHECK(describe(alternating_low_rank{}) == "alternating_low_rank(rank=2)");
  for (int const rank : {0, -1, 33}) CHECK_THROWS_AS(alternating_low_rank{.rank = rank}.check(), configuration_error);
  CHECK_THROWS_AS(alternating_low_rank{.minimum_rate = -1}.check(), configuration_error);
}
