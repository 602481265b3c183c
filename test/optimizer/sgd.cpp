// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/sgd.hpp>

#include <gradpress/method/predictive.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
float rounded(float x) {
  float volatile y = x;
  return y;
}
}  // namespace

TEST_CASE("optimizer::sgd is momentum SGD, bit for bit on one rank") {
  constexpr std::size_t n = 200;
  for (bool const nesterov : {false, true})
    for (float const decay : {0.f, 0.01f}) {
      CAPTURE(nesterov);
      CAPTURE(decay);
      sgd const method{.learning_rate = 0.125, .momentum = 0.75, .weight_decay = decay, .nesterov = nesterov};
      auto const got = train(1, n, 10, true, 0.3f, method, compress_with());
      auto x = start_of(n);
      floats m(n), g(n);
      for (std::uint64_t s = 0; s < 10; ++s) {
        differentiate(0, s, x, g);
        for (std::size_t i = 0; i < n; ++i) {
          auto const d = decay == 0.f ? g[i] : g[i] + rounded(decay * x[i]);
          m[i] = rounded(0.75f * m[i]) + d;
          x[i] -= rounded(0.125f * (nesterov ? d + rounded(0.75f * m[i]) : m[i]));
        }
        CHECK(identical(got[0].points[s], x));
        CHECK(identical(got[0].models[s], x));  // the point is the model
      }
    }
}

TEST_CASE("optimizer::sgd: replicas are equal to the bit and come to the optimum of the mean") {
  for (int const P : {1, 2, 3, 9}) {
    CAPTURE(P);
    auto const all = train(P, 100, 300, false, 0.f, sgd{.learning_rate = 0.1, .momentum = 0.5},
                           compress_with(top_k{.density = 0.2}, error_feedback{}));
    CHECK(equal_replicas(all));
    floats centre(100), g(100);
    for (int p = 0; p < P; ++p) {
      differentiate(p, 0, all[0].last, g, 0.f);
      for (std::size_t i = 0; i < 100; ++i) centre[i] += g[i] / static_cast<float>(P);
    }
    CHECK(apart(centre, floats(100)) < 0.05);  // of 1.2 at the start
  }
}

TEST_CASE("optimizer::sgd goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(sgd{.learning_rate = 0.1, .weight_decay = 0.01},
                         compress_with(top_k{.density = 0.1}, error_feedback{}));
}

TEST_CASE("optimizer::sgd: a method around a compressor needs no feedback, and goes on as any other") {
  auto const around = predictive(compress_with(stochastic_int{.bits = 8}), {.order = 2, .threshold = 0.3});
  CHECK(equal_replicas(train(3, 100, 20, false, 0.3f, sgd{.learning_rate = 0.1}, around)));
  check_training_resumes(sgd{.learning_rate = 0.1}, around);
}
