// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/def.hpp>

#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/random_block.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 256;

floats minus(floats const& a, floats const& b) {
  floats d(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) d[i] = a[i] - b[i];
  return d;
}
}  // namespace

TEST_CASE("optimizer::def with lambda = 1 on one rank is momentum SGD, whatever the compressor; with 0.3 it is not") {
  constexpr int steps = 40;
  auto const exact = train(1, n, steps, false, 0.3f, sgd{.momentum = 0.8, .weight_decay = 0.01}, compress_with());
  auto const check = [&](auto const& method) {
    auto const detached =
        train(1, n, steps, true, 0.3f, def{.momentum = 0.8, .lambda = 1, .weight_decay = 0.01}, method);
    double worst = 0, owed = 0;
    for (std::size_t s = 0; s < steps; ++s) {
      worst = std::max(worst, apart(detached[0].points[s], exact[0].points[s]));
      owed = std::max(owed, apart(detached[0].residuals[s], floats(n)));
      CHECK(apart(detached[0].points[s], minus(detached[0].models[s], detached[0].residuals[s])) == 0);
    }
    CHECK(worst < 5e-6);
    CHECK(owed > 0.01);
    auto const third = train(1, n, steps, true, 0.3f, def{.momentum = 0.8, .weight_decay = 0.01}, method);
    CHECK(apart(minus(third[0].models.back(), third[0].residuals.back()), exact[0].last) > 1e-3);
  };
  SUBCASE("top_k") { check(compress_with(top_k{.density = 0.05}, error_feedback{})); }
  SUBCASE("random_block") { check(compress_with(random_block{.density = 1. / 16}, error_feedback{})); }
  SUBCASE("sign") { check(compress_with(gradpress::sign{.block = 64}, error_feedback{})); }
  SUBCASE("stochastic_int") { check(compress_with(stochastic_int{.bits = 2, .block = 64}, error_feedback{})); }
}

TEST_CASE("optimizer::def reads what a low-rank memory owes") {
  thread_group group(1);
  thread_communicator alone(group, 0);
  auto const run = [&](auto const& method, auto const& by) {
    reducer r{gradpress::serial{}, alone};
    auto d = train_with(r, method, by);
    auto w = start_of(n);
    floats g(n);
    auto const h = d.add("w", {16, 16}, std::span(w));
    for (int s = 0; s < 30; ++s) {
      differentiate(0, d.next().sample, w, g);
      d.stage(h, std::span(g));
      d.take();
    }
    return w;
  };
  auto const exact = run(sgd{}, compress_with());
  CHECK(apart(run(def{.lambda = 1}, compress_with(low_rank{.rank = 1}, error_feedback{})), exact) < 1e-5);
  CHECK(apart(run(def{.lambda = 0.5}, compress_with(low_rank{.rank = 1}, error_feedback{})), exact) > 1e-2);
}

TEST_CASE("optimizer::def with local steps takes each gradient where the one before led") {
  constexpr int steps = 20;
  auto const each = train(1, n, 3 * steps, false, 0.3f, sgd{.learning_rate = 0.05, .momentum = 0.8}, compress_with());
  auto const local =
      train(1, n, steps, false, 0.3f, def{.learning_rate = 0.05, .momentum = 0.8, .lambda = 1, .local_steps = 3},
            compress_with(top_k{.density = 0.1}, error_feedback{}));
  for (std::size_t s = 0; s < steps; ++s) CHECK(apart(local[0].points[s], each[0].points[3 * s + 2]) < 5e-6);
}

TEST_CASE("optimizer::def with lambda = 0 is error feedback with local momentum, bit for bit") {
  constexpr int P = 3, steps = 15;
  auto const by = compress_with(top_k{.density = 0.1}, error_feedback{});
  auto const all = train(P, n, steps, false, 0.3f, def{.learning_rate = 0.125, .momentum = 0.5, .lambda = 0}, by);
  run_ranks(P, [&](thread_communicator& comm) {
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    auto const h = r.add("w", n, by);
    auto x = start_of(n);
    floats m(n), g(n);
    for (std::uint64_t s = 0; s < steps; ++s) {
      differentiate(comm.rank(), s, x, g);
      for (std::size_t i = 0; i < n; ++i) {
        m[i] = 0.5f * m[i] + g[i];  // halves and eighths are exact: no compiler can round otherwise
        g[i] = 0.125f * m[i];
      }
      r.average(h, std::span(g));
      for (std::size_t i = 0; i < n; ++i) x[i] -= g[i];
      if (!identical(x, all[static_cast<std::size_t>(comm.rank())].points[s]))
        throw std::runtime_error("other numbers");
    }
  });
}

TEST_CASE(
    "optimizer::def: x less the mean of what is owed is momentum SGD on the ranks' gradients at their own points") {
  constexpr int P = 4, steps = 40;
  auto const all = train(P, n, steps, true, 0.3f, def{.learning_rate = 0.1, .momentum = 0.7, .lambda = 0.4},
                         compress_with(random_block{.density = 1. / 8}, error_feedback{}));
  std::vector<double> y;
  for (auto const v : start_of(n)) y.push_back(static_cast<double>(v));
  std::vector<std::vector<double>> m(P, std::vector<double>(n));
  floats g(n);
  double worst = 0, spread = 0;
  for (std::size_t s = 0; s < steps; ++s) {
    for (std::size_t p = 0; p < P; ++p) {
      differentiate(static_cast<int>(p), s, s == 0 ? start_of(n) : all[p].points[s - 1], g);
      for (std::size_t i = 0; i < n; ++i) {
        m[p][i] = 0.7 * m[p][i] + static_cast<double>(g[i]);
        y[i] -= 0.1 * m[p][i] / P;
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      double x = static_cast<double>(all[0].models[s][i]);
      for (auto const& rank : all) x -= static_cast<double>(rank.residuals[s][i]) / P;
      worst = std::max(worst, std::abs(x - y[i]));
    }
    spread = std::max(spread, apart(all[0].points[s], all[1].points[s]));
    for (auto const& rank : all) CHECK(identical(rank.models[s], all[0].models[s]));
  }
  CHECK(worst < 1e-5);
  CHECK(spread > 1e-3);  // the ranks' points are their own
}

TEST_CASE("optimizer::def over a random block: where it lies x becomes the virtual iterate, elsewhere it stays") {
  constexpr int steps = 30;
  auto const all = train(1, n, steps, true, 0.3f, def{.lambda = 0.5},
                         compress_with(random_block{.density = 1. / 8}, error_feedback{}));
  auto x = start_of(n);
  for (std::size_t s = 0; s < steps; ++s) {
    auto const& now = all[0].models[s];
    auto const y = minus(now, all[0].residuals[s]);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (now[i] == x[i]) continue;
      ++moved;
      CHECK(now[i] == y[i]);
    }
    CHECK(moved == n / 8);
    x = now;
  }
}

TEST_CASE("optimizer::def without compression is sgd: bit for bit on one rank, to rounding on several") {
  def const detached{.learning_rate = 0.1, .momentum = 0.8, .lambda = 0.3};
  sgd const plain{.learning_rate = 0.1, .momentum = 0.8};
  CHECK(identical(train(1, n, 30, false, 0.3f, detached, compress_with())[0].last,
                  train(1, n, 30, false, 0.3f, plain, compress_with())[0].last));
  CHECK(apart(train(3, n, 30, false, 0.3f, detached, compress_with())[0].last,
              train(3, n, 30, false, 0.3f, plain, compress_with())[0].last) < 2e-6);
}

TEST_CASE("optimizer::def: all ranks return the same model, to the bit, and it is a good one") {
  for (int const P : {1, 2, 5, 9}) {
    CAPTURE(P);
    auto const all = train(P, 100, 300, false, 0.f, def{.learning_rate = 0.1, .momentum = 0.5},
                           compress_with(random_block{.density = 0.25}, error_feedback{}));
    CHECK(equal_replicas(all));
    floats mean(100), g(100);
    for (int p = 0; p < P; ++p) {
      differentiate(p, 0, all[0].last, g, 0.f);
      for (std::size_t i = 0; i < 100; ++i) mean[i] += g[i] / static_cast<float>(P);
    }
    CHECK(apart(mean, floats(100)) < 0.1);
  }
}

TEST_CASE("optimizer::def goes on after undo, a NaN, a look at the model, and a load") {
  auto const by = compress_with(random_block{.density = 0.125}, error_feedback{});
  SUBCASE("one gradient a step") { check_training_resumes(def{.weight_decay = 0.01}, by); }
  SUBCASE("three gradients a step") { check_training_resumes(def{.learning_rate = 0.03, .local_steps = 3}, by); }
}
