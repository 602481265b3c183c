// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/dgc.hpp>

#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/schedule/piecewise.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;

/// The memory of Deep Gradient Compression at its barest: u = mu u + g, a = v + u, v = a - delivered. No masking.
struct bare_momentum {
  double momentum = 0.75;

  using family = gradpress::family::feedback;
  static constexpr std::string_view name = "bare_momentum";
  static constexpr memory_law law = memory_law::additive;
  static constexpr bool keeps_gradient = true;

  template <class Exec>
  struct state {
    buffer<Exec> residual, momentum, next;
    state(bare_momentum const&, step<Exec> const& ctx, shape d)
        : residual(kernel::zeros(ctx.exec, "residual", d.size())),
          momentum(kernel::zeros(ctx.exec, "momentum", d.size())),
          next(kernel::zeros(ctx.exec, "next", d.size())) {}
    template <class V>
    void visit(V&& v) {
      v("residual", residual);
      v("momentum", momentum);
    }
  };
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State& s, view<Exec> room) const {
    for (std::size_t i = 0; i < g.extent(0); ++i) {
      float const volatile old = static_cast<float>(momentum) * s.momentum(i);
      s.next(i) = old + g(i);
      room(i) = s.residual(i) + s.next(i);
    }
    return room;
  }
  template <class Exec, class State>
  void keep(step<Exec> const&, in<Exec>, buffer<Exec>& rest, State& s) const {
    std::swap(s.residual, rest);
    std::swap(s.momentum, s.next);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::swap(s.residual, rest);
    std::swap(s.momentum, s.next);
  }
};
static_assert(explain_feedback<bare_momentum>());
}  // namespace

TEST_CASE("optimizer::dgc that sends all is momentum SGD, with the decay outside of the memory") {
  auto const everything = compress_with(top_k{.density = 1}, bare_momentum{});
  dgc const outside{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.02};
  sgd const plain{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.02};
  for (int const P : {1, 3}) {
    auto const got = train(P, n, 40, false, 0.3f, outside, everything);
    auto const exact = train(P, n, 40, false, 0.3f, plain, compress_with());
    CHECK(apart(got[0].last, exact[0].last) < 3e-6);
    CHECK(identical(train(P, n, 40, false, 0.3f, outside, compress_with())[0].last, exact[0].last));
  }
}

TEST_CASE("optimizer::dgc: replicas are equal and come to the optimum while the density falls") {
  for (int const P : {1, 4, 9}) {
    std::vector<floats> w(static_cast<std::size_t>(P)), g(static_cast<std::size_t>(P), floats(n));
    run_ranks(P, [&](thread_communicator& comm) {
      auto const at = static_cast<std::size_t>(comm.rank());
      reducer r{gradpress::serial{}, comm};
      program p(train_with(r, dgc{.learning_rate = 0.02, .momentum = 0.75},
                           compress_with(top_k{.density = 0.25}, bare_momentum{})),
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
  auto d = train_with(r, dgc{.momentum = 0.9}, compress_with(top_k{.density = 0.1}, bare_momentum{}));
  floats x(4);
  std::string what = "nothing";
  try {
    d.add("x", {4}, std::span(x));
  } catch (configuration_error const& e) {
    what = e.what();
  }
  CHECK(what.find("must be those of the compressor's memory, bare_momentum") != std::string::npos);
}

TEST_CASE("optimizer::dgc goes on after undo, a NaN, a look at the model, and a load") {
  check_training_resumes(dgc{.learning_rate = 0.05, .momentum = 0.75, .weight_decay = 0.01},
                         compress_with(top_k{.density = 0.1}, bare_momentum{}));
}
