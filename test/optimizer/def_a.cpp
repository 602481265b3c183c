// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/def_a.hpp>

#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/select/random_block.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;
auto const by = compress_with(random_block{.density = 1. / 16}, error_feedback{});
}  // namespace

TEST_CASE("optimizer::def_a trains as def does, to the bit, and returns x less the mean of what is owed") {
  constexpr int P = 3, steps = 30;
  auto const plain = train(P, n, steps, true, 0.3f, def{.learning_rate = 0.05}, by);
  auto const averaged = train(P, n, steps, true, 0.3f, def_a{.learning_rate = 0.05}, by);
  double lag = 0;
  for (std::size_t s = 0; s < steps; ++s) {
    for (std::size_t p = 0; p < P; ++p) {
      CHECK(identical(averaged[p].points[s], plain[p].points[s]));
      CHECK(identical(averaged[p].models[s], averaged[0].models[s]));
    }
    floats mean(n);
    for (auto const& rank : plain) mean = plus(mean, rank.residuals[s]);
    for (std::size_t i = 0; i < n; ++i) mean[i] = plain[0].models[s][i] - mean[i] / P;
    CHECK(apart(averaged[0].models[s], mean) < 1e-6);
    lag = std::max(lag, apart(averaged[0].models[s], plain[0].models[s]));
  }
  CHECK(lag > 0.01);
}

TEST_CASE("optimizer::def_a with lambda = 1 on one rank returns the model of momentum SGD") {
  auto const exact = train(1, n, 30, true, 0.3f, sgd{}, compress_with());
  auto const got = train(1, n, 30, true, 0.3f, def_a{.lambda = 1}, by);
  for (std::size_t s = 0; s < 30; ++s) CHECK(apart(got[0].models[s], exact[0].models[s]) < 5e-6);
}

TEST_CASE("optimizer::def_a without compression is sgd, bit for bit on one rank") {
  CHECK(identical(train(1, n, 30, false, 0.3f, def_a{}, compress_with())[0].last,
                  train(1, n, 30, false, 0.3f, sgd{}, compress_with())[0].last));
}

TEST_CASE("optimizer::def_a: a model costs one dense all-reduce, a step none") {
  auto const looked = train(2, n, 10, true, 0.3f, def_a{}, by), once = train(2, n, 10, false, 0.3f, def_a{}, by);
  CHECK(looked[0].bytes - once[0].bytes >= 10 * 4 * n);
  CHECK(looked[0].bytes - once[0].bytes < 10 * (4 * n + 100));
}

TEST_CASE("optimizer::def_a goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(def_a{.weight_decay = 0.01}, by);
}
