// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/square_view.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/alternating_low_rank.hpp>
#include <gradpress/project/identity.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>
#include <gradpress/project/svd.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/matrices.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<square_view<low_rank>> && takes_courses<square_view<low_rank>>);
static_assert(!keeps_coordinates<square_view<low_rank>>);
static_assert(square_view<>::matrix(0) == shape{0, 1} && square_view<>::matrix(1) == shape{1, 1});
static_assert(square_view<>::matrix(3) == shape{1, 3} && square_view<>::matrix(4) == shape{2, 2});
static_assert(square_view<>::matrix(99) == shape{9, 11} && square_view<>::matrix(101) == shape{10, 11});
static_assert(square_view<>::matrix(0xffffffff) == shape{65535, 65537});
static_assert(square_view{low_rank{.rank = 2}}.coefficients({1, 100}, 0) == 20);

namespace {
/// Hands back what it is given, and one round; to see that scratch does not outlive its operation.
struct passing {
  using family = family::projector;
  static constexpr std::string_view name = "passing";
  static constexpr int rounds = 1;
  static constexpr bool linear = true;
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int) const noexcept { return d.size(); }
  template <class Exec, class State>
  in<Exec> project(step<Exec> const&, shape, int, in<Exec> a, State&, view<Exec>) const {
    return a;
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const&, shape, in<Exec> c, State&, view<Exec>) const {
    return c;
  }
};
floats column(std::size_t n, std::uint64_t s, int rank) {
  return heavy_tailed(n, 10 * s + static_cast<std::uint64_t>(rank));
}
}  // namespace
static_assert(projector<square_view<passing>> && !takes_courses<square_view<passing>>);

TEST_CASE("project::square_view obeys the laws of projectors, whatever it is around") {
  for (int const rank : {1, 3, 32}) check_projector(square_view{low_rank{.rank = rank}});
  check_projector(square_view{alternating_low_rank{.rank = 2}});
  check_projector(square_view{refreshed_low_rank{.rank = 2}});
  check_projector(square_view{svd{.rank = 2}});
  check_projector(square_view{passing{}});
}

TEST_CASE(
    "project::square_view sees the same elements in the same order: where nothing is added, bits are the inner's") {
  shape const square{30, 30};
  auto const a = heavy_tailed(900, 3);
  projecting<low_rank> plain({.rank = 2}, square);
  for (shape const d : {shape{900, 1}, shape{1, 900}, shape{100, 9}}) {
    projecting<low_rank> inner({.rank = 2}, square);
    projecting<square_view<low_rank>> at({{.rank = 2}}, d);
    for (int s = 0; s < 3; ++s) CHECK(identical(at.step(a), inner.step(a)));
    CHECK(identical(at.kept(), inner.kept()));
  }
}

TEST_CASE("project::square_view adds zeros to a length without divisors, and drops what becomes of them") {
  for (std::size_t const n : {2u, 3u, 5u, 13u, 101u, 997u}) {
    auto const m = square_view<>::matrix(n);
    CAPTURE(n);
    CHECK(m.size() >= n);
    CHECK(m.size() - n < m.rows);
    auto filled = heavy_tailed(n, 3);
    auto const a = filled;
    filled.resize(m.size());
    projecting<low_rank> inner({.rank = 2}, m);
    projecting<square_view<low_rank>> at({{.rank = 2}}, {n, 1});
    for (int s = 0; s < 3; ++s) {
      auto whole = inner.step(filled);
      whole.resize(n);
      CHECK(identical(at.step(a), whole));
    }
  }
}

TEST_CASE("reducer: as a square a vector is compressed that low_rank sends whole, and nothing of it is lost") {
  constexpr int P = 3;
  for (shape const d : {shape{1, 997}, shape{1024, 1}})
    run_ranks(P, [&](thread_communicator& c) {
      using host_reducer = reducer<gradpress::serial>;
      auto const method = compress_with(square_view{low_rank{.rank = 2}}, error_feedback{});
      auto const n = d.size();
      host_reducer whole{gradpress::serial{}, c}, r{gradpress::serial{}, c};
      auto const v = whole.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2}, error_feedback{}));
      auto const w = r.add("w", d.rows, d.cols, method);
      std::vector<double> gone(n);
      floats sent(n), residual;
      for (std::uint64_t s = 0; s < 8; ++s) {
        if (s == 4) r.set(w, "rank", 3);  // the inner projector's knob, by its name or with its policy's
        if (s == 6) r.set(w, "low_rank.rank", 1);
        auto g = column(n, s, c.rank());
        for (std::size_t i = 0; i < n; ++i) sent[i] += g[i];
        r.average(w, std::span(g));
        for (std::size_t i = 0; i < n; ++i) gone[i] += P * static_cast<double>(g[i]);
      }
      auto g = column(n, 0, c.rank());
      whole.average(v, std::span(g));
      require(whole.stats().sent_dense == 1 && r.stats().sent_dense == 0, "compressed only as a square");
      require(r.stats().bytes_sent < 8 * 4 * 3 * 66 + 8 * 100, "3 (rows + cols) floats at most");
      r.visit(w, [&](char const* name, auto const& b) {
        if (std::string(name) == "residual") residual = copied(b);
      });
      for (std::size_t i = 0; i < n; ++i) sent[i] -= residual[i];
      c.all_reduce_sum(std::span(sent));
      double lost = 0, all = 0;
      for (std::size_t i = 0; i < n; ++i) {
        lost += std::pow(static_cast<double>(sent[i]) - gone[i], 2);
        all += gone[i] * gone[i];
      }
      require(lost < 1e-8 * all, "something was lost");

      std::ostringstream file;
      r.save(file);
      auto next = column(n, 9, c.rank()), same = next;
      r.average(w, std::span(next));
      host_reducer other{gradpress::serial{}, c};
      auto const o = other.add("w", d.rows, d.cols, method);
      std::istringstream again(file.str());
      other.load(again);
      other.average(o, std::span(same));
      require(identical(next, same), "goes on from a file");
      r.rollback();
      same = column(n, 9, c.rank());
      r.average(w, std::span(same));
      require(identical(next, same), "goes on after a rollback");
    });
}

TEST_CASE("project::square_view: another rank keeps the inner's columns") {
  shape const d{997, 1};
  projecting<square_view<low_rank>> at({{.rank = 2}}, d);
  at.step(heavy_tailed(997));
  square_view const wider{low_rank{.rank = 3}};
  state_of<square_view<low_rank>, host> s(wider, at.r.ctx, d);
  s.carry_over(at.r.ctx, wider, d, at.state);
  CHECK(s.factor.extent(0) == 3 * 33);
  for (std::size_t i = 0; i < 33; ++i)
    for (std::size_t j = 0; j < 2; ++j) CHECK(s.factor(3 * i + j) == at.state.factor(2 * i + j));
}

TEST_CASE("reducer: as a square, too, a memory that owes and one that somebody looks at have the same bits") {
  run_ranks(2, [&](thread_communicator& c) {
    auto const method = compress_with(square_view{low_rank{.rank = 2}}, error_feedback{});
    reducer seen{gradpress::serial{}, c}, unseen{gradpress::serial{}, c};
    auto const a = seen.add("w", 997, method), b = unseen.add("w", 997, method);
    for (std::uint64_t s = 0; s < 4; ++s) {
      auto g = column(997, s, c.rank()), h = g;
      seen.average(a, std::span(g));
      unseen.average(b, std::span(h));
      seen.visit(a, [](char const*, auto const&) {});
      require(identical(g, h), "other bits");
    }
  });
}

TEST_CASE("reducer: a square view around PowerSGD+ and the alternating form travels whole and in turn as they do") {
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const a =
        r.add("a", 997, compress_with(square_view{refreshed_low_rank{.rank = 2, .every = 3}}, error_feedback{}));
    auto const b = r.add("b", 997, compress_with(square_view{alternating_low_rank{.rank = 2}}, error_feedback{}));
    for (std::uint64_t s = 0; s < 6; ++s) {
      auto g = column(997, s, c.rank()), h = g;
      r.stage(a, std::span(g));
      r.stage(b, std::span(h));
      r.average();
      require(r.stats().sent_dense == 1 + s / 3, "whole in every third step");
    }
  });
}

TEST_CASE("project::square_view shows the inner's text, and refuses what the inner refuses") {
  CHECK(describe(square_view{alternating_low_rank{}}) == "square_view(inner=alternating_low_rank(rank=2))");
  CHECK_THROWS_AS((square_view{low_rank{.rank = 0}}.check()), configuration_error);
  CHECK_NOTHROW(square_view{passing{}}.check());
}
