// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/refreshed_low_rank.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/matrices.hpp"

#include <functional>
#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<refreshed_low_rank> && takes_courses<refreshed_low_rank>);

namespace {
double norm(floats const& x) { return std::sqrt(squared(x)); }

/// One rank with error feedback that descends by `rate`: of X and the residual, the norms at the end.
struct descent {
  double x, residual;
};
template <class P>
descent descend(P const& p, shape d, floats x, int steps, float rate,
                std::function<floats(floats const&, int)> gradient, bool from_first_axis = false) {
  projecting<P> at(p, d);
  if (from_first_axis)
    at.state.visit([&](char const* name, buffer<host> q) {
      for (std::size_t i = 0; i < q.extent(0) && std::string(name) == "factor"; ++i) q(i) = i == 0;
    });
  floats e(d.size());
  for (int s = 0; s < steps; ++s) {
    auto a = plus(gradient(x, s), e);
    auto const now = p.begin(at.r.ctx, d, at.state);
    floats update = a;
    if (now.whole) {
      if constexpr (requires { p.commit_whole(at.r.ctx, d, over(std::as_const(a)), at.state); })
        p.commit_whole(at.r.ctx, d, over(std::as_const(a)), at.state);
      at.r.release();
      ++at.r.ctx.number;
    } else {
      update = at.step(a);
    }
    for (std::size_t i = 0; i < a.size(); ++i) e[i] = a[i] - update[i], x[i] -= rate * update[i];
  }
  return {norm(x), norm(e)};
}
/// Zero or not, each with probability 1/2, zero first.
bool silent(int step) { return step == 0 || (key{17}.bits(static_cast<std::uint64_t>(step)) & 1) != 0; }
}  // namespace

TEST_CASE("project::refreshed_low_rank obeys the laws of projectors between refreshes") {
  for (int const rank : {1, 2, 4, 32}) check_projector(refreshed_low_rank{.rank = rank});
}

TEST_CASE("project::refreshed_low_rank leaves an invariant subspace in which low_rank stays for ever") {
  // f(X) = |X|^2 / 2 from X = I: with Q = e1 the second column is never seen, and its residual grows by 1 a step.
  auto const identity_gradient = [](floats const& x, int) { return x; };
  floats const start = {1, 0, 0, 1};
  auto const plain =
      descend(low_rank{.rank = 1, .minimum_rate = 0}, {2, 2}, start, 300, 0.05f, identity_gradient, true);
  CHECK(plain.x == doctest::Approx(1).epsilon(1e-4));
  CHECK(plain.residual == doctest::Approx(300).epsilon(1e-4));
  auto const refreshed = descend(refreshed_low_rank{.rank = 1, .every = 10, .minimum_rate = 0}, {2, 2}, start, 300,
                                 0.05f, identity_gradient, true);
  CHECK(refreshed.x < 1e-3);
  CHECK(refreshed.residual < 1e-2);
}

TEST_CASE("project: refreshed_low_rank and low_rank's guard both survive gradients that are zero now and then") {
  auto const noisy = [](floats const& x, int s) {
    floats g(x.size());
    for (std::size_t i = 0; i < g.size() && !silent(s); ++i) g[i] = 2 * x[i];
    return g;
  };
  for (shape const d : {shape{1, 1}, shape{4, 3}}) {
    auto const start = of_rank(1, d, 3);
    auto const guarded = descend(low_rank{.rank = 1, .minimum_rate = 0}, d, start, 2000, 0.05f, noisy);
    auto const refreshed =
        descend(refreshed_low_rank{.rank = 1, .every = 10, .minimum_rate = 0}, d, start, 2000, 0.05f, noisy);
    CHECK(guarded.x < 1e-9 * norm(start));
    CHECK(refreshed.x < 1e-9 * norm(start));
  }
}

namespace {
using host_reducer = reducer<gradpress::serial>;
shape const d{24, 18};
template <class T>
floats average(host_reducer& r, T t, std::uint64_t s) {
  auto g = heavy_tailed(d.size(), 10 * s + static_cast<std::uint64_t>(r.rank()));
  r.average(t, std::span(g));
  return g;
}
}  // namespace

TEST_CASE(
    "reducer: refreshed_low_rank sends whole every tau steps, and is as good as the best approximation after it") {
  constexpr int P = 3;
  run_ranks(P, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w =
        r.add("w", d.rows, d.cols, compress_with(refreshed_low_rank{.rank = 2, .every = 4}, error_feedback{}));
    for (std::uint64_t s = 0; s < 9; ++s) {
      average(r, w, s);
      require(r.stats().sent_dense == s / 4 + 1, "one of four");
      double left = 0;
      r.visit(w, [&](char const*, auto const& b) { left += squared(copied(b)); });
      require((left == 0) == (s % 4 == 0), "a refresh leaves nothing behind");
    }
    // A constant mean: the refresh finds its leading subspace, and the next step projects on nothing else.
    host_reducer once{gradpress::serial{}, c};
    auto const v = once.add("w", d.rows, d.cols, compress_with(refreshed_low_rank{.rank = 2}));
    auto const first = average(once, v, 5), second = average(once, v, 5);
    auto const lost = distance(first, second);
    host_reducer many{gradpress::serial{}, c};
    auto const u = many.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2}));
    floats last;
    for (int s = 0; s < 60; ++s) last = average(many, u, 5);
    require(lost <= distance(first, last) * 1.001, "no worse than sixty steps of low_rank");
  });
}

TEST_CASE("reducer: refreshed_low_rank goes on from a file and after a rollback, at a refresh and between") {
  run_ranks(2, [&](thread_communicator& c) {
    auto const method = compress_with(refreshed_low_rank{.rank = 2, .every = 3}, error_feedback{});
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, method);
    for (std::uint64_t s = 0; s < 8; ++s) {
      std::ostringstream file;
      r.save(file);
      auto const next = average(r, w, s);
      r.rollback();
      require(identical(next, average(r, w, s)), "after a rollback");
      host_reducer other{gradpress::serial{}, c};
      auto const o = other.add("w", d.rows, d.cols, method);
      std::istringstream again(file.str());
      other.load(again);
      require(identical(next, average(other, o, s)), "from a file");
    }
    r.set(w, "rank", 4);
    average(r, w, 8);
    require(r.stats().sent_dense >= 3, "refreshes go on");
  });
}

TEST_CASE("project::refreshed_low_rank has a text form and refuses clocks and ranks that it cannot keep") {
  CHECK(describe(refreshed_low_rank{}) == "refreshed_low_rank(rank=2,every=50)");
  CHECK_THROWS_AS(refreshed_low_rank{.rank = 0}.check(), configuration_error);
  CHECK_THROWS_AS(refreshed_low_rank{.every = 0}.check(), configuration_error);
}
