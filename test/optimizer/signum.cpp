// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/signum.hpp>

#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 120;
}  // namespace

TEST_CASE("optimizer::signum moves every entry by the learning rate, in the direction of the mean momentum") {
  constexpr int P = 3, steps = 20;
  auto const all = train(P, n, steps, false, 0.3f,
                         signum{.learning_rate = 0.125, .momentum = 0.5, .weight_decay = 0.25}, compress_with());
  auto x = start_of(n);
  std::vector<floats> m(P, floats(n));
  floats g(n);
  for (std::uint64_t s = 0; s < steps; ++s) {
    floats sum(n);
    for (int p = 0; p < P; ++p) {
      auto& mine = m[static_cast<std::size_t>(p)];
      differentiate(p, s, x, g);
      for (std::size_t i = 0; i < n; ++i) sum[i] += mine[i] = 0.5f * mine[i] + 0.5f * g[i];
    }
    for (std::size_t i = 0; i < n; ++i) {
      auto const sign = sum[i] > 0 ? 1.f : sum[i] < 0 ? -1.f : 0.f;
      x[i] -= 0.125f * (sign + 0.25f * x[i]);  // powers of two: no compiler can round otherwise
    }
    for (auto const& rank : all) CHECK(identical(rank.points[s], x));
  }
}

TEST_CASE("optimizer::signum over a majority vote: every rank has one vote an entry") {
  constexpr int P = 3, steps = 20;
  auto const all = train(P, n, steps, false, 0.3f, signum{.learning_rate = 0.125, .momentum = 0.5},
                         compress_with(sign_bits{}, majority_vote{}));
  auto x = start_of(n);
  std::vector<floats> m(P, floats(n));
  floats g(n);
  std::size_t overruled = 0;
  for (std::uint64_t s = 0; s < steps; ++s) {
    std::vector<int> votes(n);
    floats sum(n);
    for (int p = 0; p < P; ++p) {
      auto& mine = m[static_cast<std::size_t>(p)];
      differentiate(p, s, x, g);
      for (std::size_t i = 0; i < n; ++i) {
        sum[i] += mine[i] = 0.5f * mine[i] + 0.5f * g[i];
        votes[i] += mine[i] < 0 ? -1 : 1;
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      x[i] -= 0.125f * (votes[i] > 0 ? 1.f : -1.f);
      overruled += (votes[i] > 0) != (sum[i] > 0);
    }
    for (auto const& rank : all) CHECK(identical(rank.points[s], x));
  }
  CHECK(overruled > 0);  // the mean would have gone the other way
}

TEST_CASE("optimizer::signum: a zero stays where it is") {
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto d = train_with(r, signum{.learning_rate = 0.5}, compress_with());
  floats x{1, 2, 3}, g{0, -3, 1e-20f};
  auto const h = d.add("x", {3}, std::span(x));
  static_cast<void>(d.next());
  d.stage(h, std::span(g));
  CHECK(d.take());
  CHECK(x == floats{1, 2.5f, 2.5f});
}

TEST_CASE("optimizer::signum on one rank by signs is that without compression, and replicas are equal on several") {
  signum const method{.learning_rate = 0.01};
  auto const by = compress_with(gradpress::sign{.block = 32});
  CHECK(identical(train(1, n, 30, false, 0.3f, method, by)[0].last,
                  train(1, n, 30, false, 0.3f, method, compress_with())[0].last));
  for (int const P : {2, 9}) CHECK(equal_replicas(train(P, 60, 20, false, 0.3f, method, by)));
}

TEST_CASE("optimizer::signum goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(signum{.learning_rate = 0.01, .weight_decay = 0.01},
                         compress_with(gradpress::sign{.block = 32}));
}
