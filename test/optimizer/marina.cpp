// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/marina.hpp>

#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/random_k.hpp>

#include "../support/training.hpp"

#include <set>

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 160;
auto const drawn = compress_with(random_k{.density = 0.25, .scaled = true});
auto const rounded = compress_with(stochastic_int{.bits = 2, .block = 64});
}  // namespace

TEST_CASE("optimizer::marina without compression is gradient descent") {
  sgd const plain{.learning_rate = 0.1, .momentum = 0, .weight_decay = 0.01};
  // Full gradients, since two samples of one step would be two functions.
  for (int const P : {1, 3}) {
    auto const exact = train(P, n, 40, false, 0.f, plain, compress_with());
    auto const whole = train(P, n, 40, false, 0.f, marina{.probability = 1, .weight_decay = 0.01}, drawn);
    auto const mixed = train(P, n, 40, false, 0.f, marina{.probability = 0.3, .weight_decay = 0.01}, compress_with());
    CHECK(identical(whole[0].last, exact[0].last));
    CHECK(apart(mixed[0].last, exact[0].last) < 2e-6);
  }
}

TEST_CASE("optimizer::marina asks for one sample at two models, and all ranks toss the same coin") {
  constexpr int P = 4, steps = 60;
  std::vector<std::vector<int>> coins(P);
  run_ranks(P, [&](thread_communicator& comm) {
    reducer r{gradpress::serial{}, comm, {.seed = 8}};
    auto d = train_with(r, marina{.probability = 0.4}, drawn);
    auto w = start_of(n);
    auto const h = d.add("w", {n}, std::span(w));
    floats g(n), now = w, before;
    for (std::uint64_t s = 0; s < steps; ++s) {
      auto const first = d.next();
      coins[static_cast<std::size_t>(comm.rank())].push_back(first.of);
      bool right = first.sample == s && first.step == s && identical(w, now);
      differentiate(comm.rank(), first.sample, w, g);
      d.stage(h, std::span(g));
      if (first.of == 2) {
        right &= !d.take();
        auto const second = d.next();
        right &= second.sample == s && second.gradient == 1 && identical(w, before);
        differentiate(comm.rank(), second.sample, w, g);
        d.stage(h, std::span(g));
      }
      before = now;
      right &= d.take();
      now = w;
      if (!right) throw std::runtime_error("another question");
    }
  });
  for (auto const& c : coins) CHECK(c == coins[0]);
  auto const whole = std::count(coins[0].begin(), coins[0].end(), 1);
  CHECK(coins[0][0] == 1);
  CHECK(whole > 12);  // 24 expected
  CHECK(whole < 38);
}

TEST_CASE(
    "optimizer::marina comes to the optimum of ranks that differ, where the plain unbiased code stays in a ball") {
  constexpr int P = 4;
  auto const far = [&](std::vector<path> const& all) {
    floats mean(n), g(n);
    for (int p = 0; p < P; ++p) {
      differentiate(p, 0, all[0].last, g, 0.f);
      for (std::size_t i = 0; i < n; ++i) mean[i] += g[i] / P;
    }
    return apart(mean, floats(n));
  };
  auto const plain = train(P, n, 600, false, 0.f, sgd{.learning_rate = 0.1, .momentum = 0}, rounded);
  auto const differences = train(P, n, 600, false, 0.f, marina{.learning_rate = 0.1, .probability = 0.25}, rounded);
  CHECK(equal_replicas(differences));
  CHECK(far(plain) > 0.01);
  CHECK(far(differences) < 1e-3);
}

TEST_CASE("optimizer::marina: replicas are equal to the bit") {
  for (int const P : {2, 9}) CHECK(equal_replicas(train(P, 60, 30, false, 0.3f, marina{.probability = 0.2}, rounded)));
}

TEST_CASE("optimizer::marina goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(marina{.probability = 0.4, .weight_decay = 0.01}, drawn);
}
