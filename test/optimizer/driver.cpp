// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/driver.hpp>

#include <gradpress/optimizer/cser.hpp>
#include <gradpress/optimizer/def_a.hpp>
#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/schedule/piecewise.hpp>
#include <gradpress/select/random_block.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 64;
auto const by = compress_with(top_k{.density = 0.25}, error_feedback{});

static_assert(optimizer<sgd> && optimizer<def> && optimizer<cser>);
static_assert(!optimizer<int> && !optimizer<error_feedback>);

/// What f throws, as text.
template <class E, class F>
std::string complaint(F const& f) {
  try {
    f();
  } catch (E const& e) {
    return e.what();
  }
  return "nothing";
}
bool says(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

struct alone {
  self_communicator comm;
  reducer<host> r{host{}, comm, {.seed = 3}};
};
}  // namespace

TEST_CASE("optimizer::driver: calls out of order are refused with what to do, and change nothing") {
  alone a;
  program p(train_with(a.r, def{}, by), 0, n);
  auto& d = p.driver;
  auto const refused = [&](auto const& call) { return complaint<configuration_error>(call); };
  auto const gradients = [&] {
    for (auto* g : {&p.gw, &p.gb}) std::fill(g->begin(), g->end(), 0.5f);
    d.stage(p.hw, std::span(p.gw));
    d.stage(p.hb, std::span(p.gb));
  };
  auto const start = p.w;
  CHECK(says(refused([&] { d.take(); }), "take was called without next"));
  CHECK(says(refused(gradients), "'w' was staged before next"));
  CHECK(says(complaint<state_error>([&] { d.undo(); }), "there is no step to undo"));
  static_cast<void>(d.next());
  CHECK(says(refused([&] { static_cast<void>(d.next()); }), "next was called twice"));
  CHECK(says(refused([&] { d.model(); }), "model was called inside a step"));
  CHECK(says(refused([&] { d.skip(); }), "skip was called inside a step"));
  CHECK(says(refused([&] { d.set("lambda", 0.1); }), "a knob was set inside a step"));
  CHECK(says(refused([&] { d.add("late", {1}, std::span(p.b).first(1)); }), "a parameter was added inside a step"));
  std::stringstream file;
  CHECK(says(refused([&] { d.save(file); }), "save was called inside a step"));
  CHECK(says(refused([&] { d.load(file); }), "load was called inside a step"));
  CHECK(says(refused([&] { d.stage({7}, std::span(p.gw)); }), "a parameter that this driver does not know"));
  CHECK(identical(p.w, start));
  gradients();
  CHECK(d.take());  // after all that the step is good
  CHECK(d.step() == 1);
  CHECK(!identical(p.w, start));
  d.undo();
  CHECK(identical(p.w, start));
  CHECK(says(complaint<state_error>([&] { d.undo(); }), "at most once"));
  CHECK(says(refused([&] { d.add("w", {n}, std::span(p.w)); }), "was added before"));
  CHECK(says(refused([&] { d.add("v", {n + 1}, std::span(p.w)); }), "has 64 elements where its shape has 65"));
}

TEST_CASE("optimizer::driver: knobs out of range are refused with their range") {
  alone a;
  auto const refused = [&](auto const& method) {
    return complaint<configuration_error>([&] { static_cast<void>(train_with(a.r, method, by)); });
  };
  CHECK(says(refused(def{.lambda = 1.5}), "def: lambda must lie in [0, 1], it is 1.5"));
  CHECK(says(refused(def{.lambda = static_cast<double>(not_finite[0])}), "lambda must lie in [0, 1]"));
  CHECK(says(refused(def{.local_steps = 0}), "local_steps must be at least 1"));
  CHECK(says(refused(sgd{.learning_rate = -1}), "sgd: learning_rate must be finite and not negative"));
  CHECK(says(refused(sgd{.learning_rate = static_cast<double>(not_finite[1])}), "learning_rate must be finite"));
  CHECK(says(refused(sgd{.momentum = 1}), "momentum must lie in [0, 1)"));
  CHECK(says(refused(sgd{.weight_decay = -0.1}), "weight_decay must be finite and not negative"));
  CHECK(refused(sgd{.learning_rate = 0}) == "nothing");  // freezes the model

  program p(train_with(a.r, def{}, by), 0, n);
  CHECK(says(complaint<configuration_error>([&] { p.driver.set("lambda", 2); }), "lambda must lie in [0, 1]"));
  CHECK(p.driver.method().lambda == 0.3);
  CHECK(says(complaint<configuration_error>([&] { p.driver.set("lamda", 0.1); }), "def.lambda"));
  p.driver.set("lambda", 1);
  CHECK(p.driver.method().lambda == 1);
}

TEST_CASE("optimizer::driver: mistakes of staging are the same error on all ranks, and the step can be repeated") {
  constexpr int P = 3;
  std::vector<std::string> forgotten(P), twice(P), longer(P), spoilt(P);
  std::vector<floats> w(P);
  run_ranks(P, [&](thread_communicator& comm) {
    auto const at = static_cast<std::size_t>(comm.rank());
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    program p(train_with(r, def{.local_steps = 2}, by), comm.rank(), n);
    auto const attempt = [&](auto const& stage) {
      return complaint<error>([&] {
        for (bool done = false; !done; done = p.driver.take()) {
          static_cast<void>(p.driver.next());
          stage();
        }
      });
    };
    auto const all = [&] {
      p.driver.stage(p.hw, std::span(p.gw));
      p.driver.stage(p.hb, std::span(p.gb));
    };
    forgotten[at] = attempt([&] { comm.rank() == 1 ? p.driver.stage(p.hw, std::span(p.gw)) : all(); });
    twice[at] = attempt([&] {
      all();
      if (comm.rank() == 2) p.driver.stage(p.hw, std::span(p.gw));
    });
    floats long_one(n + 1);
    longer[at] = attempt([&] {
      p.driver.stage(p.hb, std::span(p.gb));
      p.driver.stage(p.hw, std::span(comm.rank() == 0 ? long_one : p.gw));
    });
    if (!identical(p.w, start_of(n)) || p.driver.step() != 0) throw std::runtime_error("something has moved");
    p.step();
    w[at] = p.w;
  });
  auto const clean = train(P, n, 1, false, 0.3f, def{.local_steps = 2}, by);
  for (std::size_t p = 0; p < P; ++p) {
    CHECK(says(forgotten[p], "rank 1: tensor 'b': its gradient was not staged; stage every parameter in each step"));
    CHECK(says(twice[p], "rank 2: tensor 'w': it was staged twice in one step"));
    CHECK(says(longer[p], "rank 0: tensor 'w': the gradient has 65 elements where 64 were registered"));
    CHECK(identical(w[p], clean[p].points[0]));
  }
}

TEST_CASE("optimizer::driver: ranks that differ in knobs or in the model they start from find out in the first step") {
  std::vector<std::string> knobs(2), starts(2);
  run_ranks(2, [&](thread_communicator& comm) {
    auto const at = static_cast<std::size_t>(comm.rank());
    reducer r{gradpress::serial{}, comm}, s{gradpress::serial{}, comm};
    program p(train_with(r, def{.lambda = comm.rank() == 0 ? 0.3 : 0.5}, by), comm.rank(), n);
    knobs[at] = complaint<configuration_error>([&] { p.step(); });
    p.driver.set("lambda", 0.4);
    p.step();
    program q(train_with(s, def{}, by), comm.rank(), n);
    auto extra = floats{comm.rank() == 0 ? 1.f : 1.5f};
    auto const h = q.driver.add("extra", {1}, std::span(extra));
    starts[at] = complaint<configuration_error>([&] {
      static_cast<void>(q.driver.next());
      floats g{0};
      q.driver.stage(q.hw, std::span(q.gw));
      q.driver.stage(q.hb, std::span(q.gb));
      q.driver.stage(h, std::span(g));
      q.driver.take();
    });
  });
  for (std::size_t p = 0; p < 2; ++p) {
    CHECK(says(knobs[p], "rank 0 and others differ in: methods of rank 1"));
    CHECK(says(knobs[p], "lambda=0.5"));
    CHECK(says(starts[p], "rank 0 and others differ in: methods of rank 1"));
    CHECK(says(starts[p], "from the model "));
  }
}

TEST_CASE("optimizer::driver: a knob follows a schedule of the step number, also after a load") {
  alone a;
  program p(train_with(a.r, sgd{.momentum = 0}, compress_with()), 0, n);
  p.driver.follow("learning_rate", piecewise{{{0, 0.5}, {2, 0.25}}});
  std::stringstream file;
  std::vector<floats> seen;
  for (int s = 0; s < 4; ++s) {
    if (s == 1) p.driver.save(file);
    auto const before = p.w;
    p.step();
    seen.push_back(p.w);
    floats g(n);
    differentiate(0, static_cast<std::uint64_t>(s), before, g);
    float const rate = s < 2 ? 0.5f : 0.25f;
    for (std::size_t i = 0; i < n; ++i) CHECK(p.w[i] == before[i] - rate * g[i]);  // exact
  }
  alone b;
  program q(train_with(b.r, sgd{.momentum = 0}, compress_with()), 0, n);
  q.driver.follow("learning_rate", piecewise{{{0, 0.5}, {2, 0.25}}});
  q.driver.load(file);
  for (std::size_t s = 1; s < 4; ++s) {
    q.step();
    CHECK(identical(q.w, seen[s]));
  }
  q.driver.set("learning_rate", 0);  // ends the schedule
  q.step();
  CHECK(identical(q.w, seen[3]));
}

TEST_CASE("optimizer::driver: checkpoints that do not fit are refused and change nothing") {
  alone a;
  program p(train_with(a.r, def{}, by), 0, n);
  p.step();
  p.driver.set("lambda", 0.5);
  p.step();
  std::stringstream file;
  p.driver.save(file);
  auto const bytes = file.str();
  auto const refusal = [&](auto const& method, std::string const& text) {
    alone b;
    program q(train_with(b.r, method, by), 0, n);
    q.step();
    auto const w = q.w;
    std::istringstream from(text);
    auto const what = complaint<state_error>([&] { q.driver.load(from); });
    CHECK(identical(q.w, w));
    CHECK(q.driver.step() == 1);
    q.step();
    return what;
  };
  CHECK(says(refusal(sgd{}, bytes), "the checkpoint is of def(learning_rate=0.1,momentum=0.9,lambda=0.3"));
  CHECK(says(refusal(def{.momentum = 0.8}, bytes), "make the driver as it was and use set after load"));
  CHECK(says(refusal(def{}, ""), "missing or truncated"));
  CHECK(says(refusal(def{}, bytes.substr(0, bytes.size() - 9)), "damaged or truncated"));
  auto damaged = bytes;
  damaged[100] = static_cast<char>(damaged[100] ^ 1);  // in the reducer's part
  CHECK(says(refusal(def{}, damaged), "damaged or truncated"));

  alone b;
  program q(train_with(b.r, def{}, by), 0, n);
  std::istringstream from(bytes);
  q.driver.load(from);
  CHECK(q.driver.method().lambda == 0.5);  // as it was set
  CHECK(identical(q.w, p.w));
}

TEST_CASE("optimizer::driver: a sample that spoils every try can be left out, on all ranks alike") {
  std::vector<floats> w(2);
  run_ranks(2, [&](thread_communicator& comm) {
    reducer r{gradpress::serial{}, comm};
    program p(train_with(r, def{.local_steps = 2}, by), comm.rank(), n);
    for (int s = 0; s < 2; ++s) p.step();
    auto const first = complaint<non_finite_error>([&] { p.step(comm.rank() == 1); });
    if (!says(first, "rank 1: tensor 'w'")) throw std::runtime_error(first);
    p.driver.skip();
    auto const ask = p.driver.next();
    if (ask.step != 2 || ask.sample != 6) throw std::runtime_error("another sample");
    w[static_cast<std::size_t>(comm.rank())] = p.w;
  });
  for (auto const& x : w)
    for (auto const v : x) CHECK(std::isfinite(v));
}

TEST_CASE("optimizer::driver: parameters may be views and empty, and any of them uncompressed") {
  alone a;
  auto d = train_with(a.r, def_a{}, by);
  Kokkos::View<float*, Kokkos::HostSpace> w("w", 8);
  std::vector<float> nothing, g(8, 1.f), none;
  auto const hw = d.add("w", {4, 2}, w);
  auto const h0 = d.add("nothing", {0}, std::span(nothing));
  for (int s = 0; s < 3; ++s) {
    std::fill(g.begin(), g.end(), 1.f);
    static_cast<void>(d.next());
    d.stage(hw, std::span(g));
    d.stage(h0, std::span(none));
    CHECK(d.take());
    d.model();
  }
  CHECK(w(0) < 0);
}
