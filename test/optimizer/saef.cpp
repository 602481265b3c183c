// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/saef.hpp>

#include <gradpress/optimizer/def.hpp>
#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/select/random_block.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;
auto const by = compress_with(random_block{.density = 1. / 16}, error_feedback{});
}  // namespace

TEST_CASE("optimizer::saef without averages is def with lambda = 1, bit for bit") {
  auto const a = train(3, n, 20, false, 0.3f, saef{.weight_decay = 0.01}, by),
             b = train(3, n, 20, false, 0.3f, def{.lambda = 1, .weight_decay = 0.01}, by);
  for (std::size_t p = 0; p < 3; ++p) {
    CHECK(identical(a[p].points.back(), b[p].points.back()));
    CHECK(identical(a[p].last, b[p].last));
  }
}

TEST_CASE("optimizer::saef: an average brings the points together and moves neither the model nor their mean") {
  constexpr int P = 3;
  std::vector<floats> before(P), after(P), models(P), later(P);
  run_ranks(P, [&](thread_communicator& comm) {
    auto const at = static_cast<std::size_t>(comm.rank());
    reducer r{gradpress::serial{}, comm};
    program p(train_with(r, saef{.average_every = 5}, by), comm.rank(), n);
    for (int s = 0; s < 5; ++s) p.step();
    before[at] = p.w;
    p.driver.model();
    models[at] = p.w;
    static_cast<void>(p.driver.next());
    after[at] = p.w;
    for (auto* g : {&p.gw, &p.gb}) std::fill(g->begin(), g->end(), 0.f);
    p.driver.stage(p.hw, std::span(p.gw));
    p.driver.stage(p.hb, std::span(p.gb));
    p.driver.take();
    if (r.step_number() != 6) throw std::runtime_error("an average counts as a step");
  });
  floats mean(n);
  for (auto const& w : before) mean = plus(mean, w);
  for (auto& v : mean) v /= P;
  CHECK(apart(before[0], before[1]) > 1e-3);
  for (std::size_t p = 0; p < P; ++p) {
    CHECK(identical(after[p], after[0]));
    CHECK(apart(after[p], mean) < 1e-6);
    CHECK(identical(models[p], models[0]));
  }
}

TEST_CASE("optimizer::saef on one rank is momentum SGD, averages or not; so it is without compression") {
  auto const exact = train(1, n, 30, true, 0.3f, sgd{}, compress_with());
  auto const got = train(1, n, 30, false, 0.3f, saef{.average_every = 4}, by);
  for (std::size_t s = 0; s < 30; ++s) CHECK(apart(got[0].points[s], exact[0].points[s]) < 5e-6);
  CHECK(identical(train(1, n, 30, false, 0.3f, saef{.average_every = 4}, compress_with())[0].last, exact[0].last));
}

TEST_CASE("optimizer::saef goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(saef{.average_every = 6}, by);
}
