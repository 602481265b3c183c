// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/local_momentum.hpp>

#include <gradpress/exchange/automatic.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<local_momentum>);
static_assert(!remembers<local_momentum>);
static_assert(!feedback<local_momentum const>);

TEST_CASE("feedback::local_momentum obeys the laws of feedbacks") {
  check_feedback(local_momentum{.beta = 0.75}, {.first = 0.25f});
  check_feedback(local_momentum{.beta = 0});
}

TEST_CASE("feedback::local_momentum obeys the laws of compositions") { check_memory(local_momentum{}); }

TEST_CASE("feedback::local_momentum: every rank sends the average of its own gradients, whatever is delivered") {
  constexpr int P = 3, steps = 12;
  constexpr std::size_t n = 100;
  auto const whole = remember(P, n, steps, compress_with(local_momentum{.beta = 0.8}));
  auto const sparse = remember(P, n, steps, compress_with(top_k{.density = 0.05}, local_momentum{.beta = 0.8}));
  std::vector<double> mean(n);
  for (int p = 0; p < P; ++p) {
    std::vector<double> m(n);
    for (int s = 0; s < steps; ++s) {
      auto const g = gradient_at(p, s, n);
      for (std::size_t i = 0; i < n; ++i) m[i] += 0.2 * (static_cast<double>(g[i]) - m[i]);
    }
    auto const& kept = whole[static_cast<std::size_t>(p)].state.at("momentum");
    CHECK(identical(kept, sparse[static_cast<std::size_t>(p)].state.at("momentum")));
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(static_cast<double>(kept[i]) == doctest::Approx(m[i]).epsilon(1e-4));
      mean[i] += m[i] / P;
    }
  }
  for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(static_cast<double>(whole[0].updates.back()[i]) - mean[i]) < 1e-6);
}

TEST_CASE("feedback::local_momentum at beta = 0 is no memory, bit for bit") {
  auto const one = remember(3, 200, 6, compress_with(sign{.block = 64}, local_momentum{.beta = 0}));
  auto const none = remember(3, 200, 6, compress_with(sign{.block = 64}));
  for (std::size_t s = 0; s < 6; ++s) CHECK(identical(one[0].updates[s], none[0].updates[s]));
}

TEST_CASE("feedback::local_momentum goes on in a step that travels whole, which can be taken back") {
  constexpr std::size_t n = 100000;
  std::vector<std::string> complaints(2);
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c, {.link = link_costs{{1e-9, 1e-15}, {1e-9, 1e-15}}}},
        plain{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.1}, local_momentum{}, automatic{}));
    auto const v = plain.add("w", n, 1, compress_with(local_momentum{}));
    auto& complaint = complaints[static_cast<std::size_t>(c.rank())];
    recollection got, wanted;
    train(r, w, c.rank(), n, 0, 3, got);
    auto const before = got.state;
    train(r, w, c.rank(), n, 3, 5, got);
    train(plain, v, c.rank(), n, 0, 5, wanted);
    if (r.stats().sent_dense != 2) complaint += "did not travel whole; ";
    if (!identical(got.updates.back(), wanted.updates.back())) complaint += "another update; ";
    if (got.state != wanted.state) complaint += "another momentum; ";
    r.rollback();
    train(r, w, c.rank(), n, 4, 5, got);
    if (got.state != wanted.state) complaint += "another momentum after a rollback; ";
  });
  for (auto const& complaint : complaints) CHECK(complaint == "");
}

TEST_CASE("feedback::local_momentum: saves, loads, rolls back and refuses as every memory does") {
  check_resumes(compress_with(sign{.block = 64}, local_momentum{}));
  check_resumes(compress_with(top_k{.density = 0.1}, local_momentum{}));
  CHECK(describe(local_momentum{}) == "local_momentum(beta=0.9)");
  for (double const bad : {-0.1, 1., std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(check_knobs(compress_with(local_momentum{.beta = bad})), configuration_error);
}
