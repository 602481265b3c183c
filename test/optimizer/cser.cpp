// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/cser.hpp>

#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/select/random_block.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;
auto const often = compress_with(random_block{.density = 1. / 16}, error_feedback{});
auto const seldom = compress_with(top_k{.density = 0.25}, error_feedback{});
}  // namespace

TEST_CASE("optimizer::cser is the published recursion on local models and errors") {
  constexpr int P = 3, steps = 23;
  constexpr double rate = 0.1, mu = 0.6;
  auto const by = compress_with(top_k{.density = 0.1}, error_feedback{});
  auto const all =
      train(P, n, steps, false, 0.3f, cser{.learning_rate = rate, .momentum = mu, .reset_every = 4}, by, seldom);
  // PSync: the mean of what is compressed, and what is left of this rank's own. In doubles, but for the compressor.
  auto const top = [](std::vector<double> const& v, std::size_t k) {
    std::vector<std::size_t> order(v.size());
    for (std::size_t i = 0; i < v.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](auto a, auto b) {
      return std::abs(v[a]) != std::abs(v[b]) ? std::abs(v[a]) > std::abs(v[b]) : a < b;
    });
    std::vector<double> kept(v.size());
    for (std::size_t i = 0; i < k; ++i) kept[order[i]] = v[order[i]];
    return kept;
  };
  std::vector<std::vector<double>> x(P), e(P, std::vector<double>(n)), m = e, p = e, sent = e;
  for (auto& v : x)
    for (auto const s : start_of(n)) v.push_back(static_cast<double>(s));
  floats g(n), w(n);
  double worst = 0, spread = 0;
  for (std::size_t s = 0; s < steps; ++s) {
    for (std::size_t r = 0; r < P; ++r) {
      for (std::size_t i = 0; i < n; ++i) w[i] = static_cast<float>(x[r][i]);
      differentiate(static_cast<int>(r), s, w, g);
      for (std::size_t i = 0; i < n; ++i) {
        m[r][i] = mu * m[r][i] + static_cast<double>(g[i]);
        p[r][i] = rate * m[r][i];
      }
      sent[r] = top(p[r], n / 10);
    }
    for (std::size_t i = 0; i < n; ++i) {
      double const mean = (sent[0][i] + sent[1][i] + sent[2][i]) / P;
      for (std::size_t r = 0; r < P; ++r) {
        double const left = p[r][i] - sent[r][i];
        x[r][i] -= mean + left;
        e[r][i] -= left;
      }
    }
    for (std::size_t r = 0; r < P; ++r) {
      auto const& point = all[r].points[s];
      for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(static_cast<double>(point[i]) - x[r][i]));
    }
    for (std::size_t i = 0; i < n; ++i) spread = std::max(spread, std::abs(x[0][i] - x[1][i]));
    if ((s + 1) % 4 != 0) continue;
    for (std::size_t r = 0; r < P; ++r) sent[r] = top(e[r], n / 4);
    for (std::size_t i = 0; i < n; ++i) {
      double const mean = (sent[0][i] + sent[1][i] + sent[2][i]) / P;
      for (std::size_t r = 0; r < P; ++r) {
        double const left = e[r][i] - sent[r][i];
        x[r][i] += -e[r][i] + mean + left;
        e[r][i] = left;
      }
    }
  }
  CHECK(worst < 1e-5);
  CHECK(spread > 0.01);
}

TEST_CASE("optimizer::cser: the mean of the local models follows momentum SGD on the ranks' own gradients") {
  constexpr int P = 4, steps = 30;
  auto const all = train(P, n, steps, true, 0.3f, cser{.learning_rate = 0.1, .momentum = 0.7}, often, seldom);
  std::vector<double> y, m(n);
  for (auto const v : start_of(n)) y.push_back(static_cast<double>(v));
  // Gradients here are of the points after a reset, which only the ranks know: take steps between resets.
  double worst = 0;
  for (std::size_t s = 0; s < steps; ++s) {
    floats mean(n);
    for (auto const& rank : all) mean = plus(mean, rank.points[s]);
    for (auto& v : mean) v /= P;
    worst = std::max(worst, apart(mean, all[0].models[s]));
    for (auto const& rank : all) CHECK(identical(rank.models[s], all[0].models[s]));
  }
  CHECK(worst < 2e-6);
}

TEST_CASE("optimizer::cser on one rank is momentum SGD, whatever the compressors") {
  auto const exact = train(1, n, 30, true, 0.3f, sgd{.learning_rate = 0.05}, compress_with());
  auto const got = train(1, n, 30, true, 0.3f, cser{.learning_rate = 0.05}, often, seldom);
  for (std::size_t s = 0; s < 30; ++s) {
    CHECK(apart(got[0].points[s], exact[0].points[s]) < 5e-6);
    CHECK(apart(got[0].models[s], exact[0].models[s]) < 5e-6);
  }
}

TEST_CASE("optimizer::cser without compression is sgd: bit for bit on one rank, to rounding on several") {
  CHECK(identical(train(1, n, 30, false, 0.3f, cser{}, compress_with(), compress_with())[0].last,
                  train(1, n, 30, false, 0.3f, sgd{}, compress_with())[0].last));
  CHECK(apart(train(3, n, 30, false, 0.3f, cser{}, compress_with(), compress_with())[0].last,
              train(3, n, 30, false, 0.3f, sgd{}, compress_with())[0].last) < 3e-6);
  // The first compressor may lose what it will where each step is followed by a whole reset.
  auto const reset = train(3, n, 30, false, 0.3f, cser{.reset_every = 1}, often, compress_with());
  CHECK(apart(reset[0].last, train(3, n, 30, false, 0.3f, sgd{}, compress_with())[0].last) < 3e-6);
}

TEST_CASE("optimizer::cser: all ranks return the same model") {
  for (int const P : {2, 9}) CHECK(equal_replicas(train(P, 60, 20, false, 0.3f, cser{}, often, seldom)));
}

TEST_CASE("optimizer::cser goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(cser{.learning_rate = 0.05, .reset_every = 6}, often, seldom);
}
