// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/dgc.hpp>

#include <gradpress/feedback/momentum_correction.hpp>
#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/schedule/piecewise.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;
constexpr momentum_correction unmasked{.momentum = 0.75, .masking = false};
}  // namespace

TEST_CASE("optimizer::dgc that sends all is momentum SGD, with the decay outside of the memory") {
  auto const everything = compress_with(top_k{.density = 1}, unmasked);
  dgc const outside{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.02};
  sgd const plain{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.02};
  for (int const P : {1, 3}) {
    auto const got = train(P, n, 40, false, 0.3f, outside, everything);
    auto const exact = train(P, n, 40, false, 0.3f, plain, compress_with());
    CHECK(apart(got[0].last, exact[0].last) < 3e-6);
    CHECK(identical(train(P, n, 40, false, 0.3f, outside, compress_with())[0].last, exact[0].last));
  }
}

TEST_CASE("optimizer::dgc that sends all and masks it is SGD without momentum") {
  auto const masked = compress_with(top_k{.density = 1}, momentum_correction{.momentum = 0.75});
  auto const got = train(3, n, 40, false, 0.3f, dgc{.learning_rate = 0.05, .momentum = 0.75}, masked);
  auto const plain = train(3, n, 40, false, 0.3f, sgd{.learning_rate = 0.05, .momentum = 0}, compress_with());
  CHECK(apart(got[0].last, plain[0].last) < 3e-6);
}

TEST_CASE("optimizer::dgc: replicas are equal and come to the optimum while the density falls") {
  for (int const P : {1, 4, 9}) {
    std::vector<floats> w(static_cast<std::size_t>(P)), g(static_cast<std::size_t>(P), floats(n));
    run_ranks(P, [&](thread_communicator& comm) {
      auto const at = static_cast<std::size_t>(comm.rank());
      reducer r{gradpress::serial{}, comm};
      program p(
          train_with(r, dgc{.learning_rate = 0.02, .momentum = 0.75}, compress_with(top_k{.density = 0.25}, unmasked)),
          comm.rank(), n);
      p.noise = 0;
      r.follow(p.driver.tensor(p.hw), "density", piecewise{{{0, 0.25}, {20, 0.1}, {40, 0.05}}});
      for (int s = 0; s < 1200; ++s) p.step();
      w[at] = p.w;
      differentiate(comm.rank(), 0, p.w, g[at], 0.f);
    });
    floats mean(n);
    for (auto const& one : g) mean = plus(mean, one);
    for (auto& v : mean) v /= static_cast<float>(P);
    for (auto const& x : w) CHECK(identical(x, w[0]));
    CHECK(apart(mean, floats(n)) < 0.1);
  }
}

TEST_CASE("optimizer::dgc refuses a memory with another momentum") {
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto d = train_with(r, dgc{.momentum = 0.9}, compress_with(top_k{.density = 0.1}, unmasked));
  floats x(4);
  std::string what = "nothing";
  try {
    d.add("x", {4}, std::span(x));
  } catch (configuration_error const& e) {
    what = e.what();
  }
  CHECK(what.find("must be those of the compressor's memory, momentum_correction") != std::string::npos);
}

TEST_CASE("optimizer::dgc goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(dgc{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.01},
                         compress_with(top_k{.density = 0.1}, momentum_correction{.momentum = 0.75}));
}
