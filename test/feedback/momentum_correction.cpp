// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/momentum_correction.hpp>

#include <gradpress/communicate/link.hpp>
#include <gradpress/exchange/automatic.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

#include <atomic>

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<momentum_correction>);
static_assert(remembers<momentum_correction>);
static_assert(!feedback<momentum_correction const>);
static_assert(momentum_correction::law == memory_law::additive);

namespace {
constexpr int P = 3;
constexpr std::size_t n = 200;

/// Momentum SGD on the mean gradient, in float as an optimizer does it: what it moves in each step.
std::vector<floats> momentum_sgd(int steps, float mu, bool nesterov) {
  floats u(n);
  std::vector<floats> all;
  for (int s = 0; s < steps; ++s) {
    std::vector<floats> each;
    for (int p = 0; p < P; ++p) each.push_back(gradient_at(p, s, n));
    auto g = plus(plus(each[0], each[1]), each[2]);
    floats moved(n);
    for (std::size_t i = 0; i < n; ++i) {
      g[i] /= P;
      u[i] = nesterov ? mu * (u[i] + g[i]) : mu * u[i] + g[i];
      moved[i] = nesterov ? u[i] + g[i] : u[i];
    }
    all.push_back(moved);
  }
  return all;
}
double worst(std::vector<floats> const& a, std::vector<floats> const& b) {
  double most = 0;
  for (std::size_t s = 0; s < a.size(); ++s)
    for (std::size_t i = 0; i < n; ++i)
      most = std::max(most, std::abs(static_cast<double>(a[s][i]) - static_cast<double>(b[s][i])));
  return most;
}
double norm(floats const& x) { return std::sqrt(squared(x)); }
}  // namespace

TEST_CASE("feedback::momentum_correction obeys the laws of feedbacks") {
  check_feedback(momentum_correction{});
  check_feedback(momentum_correction{.masking = false});
  check_feedback(momentum_correction{.nesterov = true}, {.first = 1.9f});
  check_feedback(momentum_correction{.momentum = 0.5, .nesterov = true, .masking = false}, {.first = 1.5f});
}

TEST_CASE("feedback::momentum_correction obeys the laws of compositions") {
  check_memory(momentum_correction{});
  for (int const ranks : {1, 2, 3, 5}) {
    check_composition(
        describe_composition(compress_with(top_k{.density = 0.1}, momentum_correction{.nesterov = true, .clip = 3})),
        ranks);
    check_composition(describe_composition(compress_with(top_k{.density = 0.1}, momentum_correction{}, gtop_k{})),
                      ranks);
  }
}

TEST_CASE("feedback::momentum_correction without masking and with everything sent is momentum SGD") {
  for (bool const nesterov : {false, true}) {
    momentum_correction const memory{.nesterov = nesterov, .masking = false};
    auto const wanted = momentum_sgd(30, 0.9f, nesterov);
    CHECK(worst(remember(P, n, 30, compress_with(top_k{.density = 1}, memory))[0].updates, wanted) < 2e-6);
    CHECK(worst(remember(P, n, 30, compress_with(memory))[0].updates, wanted) < 2e-6);
  }
}

TEST_CASE("feedback::momentum_correction with masking and with everything sent is SGD without momentum, bit for bit") {
  auto const plain = remember(P, n, 10, compress_with(top_k{.density = 1}));
  auto const masked = remember(P, n, 10, compress_with(top_k{.density = 1}, momentum_correction{}));
  for (std::size_t p = 0; p < P; ++p) {
    for (std::size_t s = 0; s < 10; ++s) CHECK(identical(masked[p].updates[s], plain[p].updates[s]));
    CHECK(norm(masked[p].state.at("momentum")) == 0);
    CHECK(norm(masked[p].state.at("residual")) == 0);
  }
}

TEST_CASE("feedback::momentum_correction: momentum is forgotten where something was delivered, and only there") {
  lone_rank r;
  momentum_correction const f{};
  state_of<momentum_correction, host> state(f, r.ctx, shape{4, 1});
  buffer<host> rest("rest", 4);
  floats const g{1, 2, 0, 4};
  f.compensate(r.ctx, over(g), state, view<host>(rest));
  rest(1) = 0;      // all of it
  rest(3) -= 0.5f;  // a part, as a quantizer delivers
  f.keep(r.ctx, over(g), rest, state);
  CHECK(copied(in<host>(state.momentum)) == floats{1, 0, 0, 0});
  CHECK(copied(in<host>(state.residual)) == floats{1, 0, 0, 3.5f});
  f.compensate(r.ctx, over(g), state, view<host>(rest));  // u' = .9 u + g
  CHECK(copied(in<host>(rest)) == floats{1 + (0.9f + 1), 2, 0, 3.5f + 4});
}

namespace {
/// The same, which looks at every element.
struct looks_everywhere : momentum_correction {
  template <class... Any>
  void keep_at(Any&&...) const = delete;
};
}  // namespace

TEST_CASE("feedback::momentum_correction: looking where something was sent finds all there is, bit for bit") {
  auto const check = [](auto const& other, momentum_correction const& f) {
    auto const run = [&](auto const& memory) {
      return remember(P, n, 12, compress_with(other, memory, top_k{.density = 0.1}));
    };
    CHECK(identical(run(f), run(looks_everywhere{f})));
  };
  for (bool const nesterov : {false, true}) {
    check(stochastic_int{.bits = 4, .block = 64}, momentum_correction{.nesterov = nesterov});
    check(gtop_k{}, momentum_correction{.nesterov = nesterov});  // others' entries return, too
  }
  check(all_gather{}, momentum_correction{.masking = false});
}

namespace {
/// The same, which counts the signals that were written as a whole before anybody looked at them.
struct counts_signals : momentum_correction {
  static inline std::atomic<int> calls = 0;
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    ++calls;
    return momentum_correction::compensate(ctx, g, s, room);
  }
};
struct makes_it_whole : counts_signals {
  template <class... Any>
  void form(Any&&...) const = delete;
};
}  // namespace

TEST_CASE("feedback::momentum_correction: a selector that makes the signal changes no bit of anything") {
  for (bool const nesterov : {false, true}) {
    momentum_correction const f{.nesterov = nesterov, .clip = nesterov ? 2. : 0.};
    auto const check = [&](auto const& selector, std::size_t size) {
      auto const run = [&](auto const& memory) { return remember(P, size, 12, compress_with(memory, selector)); };
      auto const before = counts_signals::calls.load();
      auto const made = run(counts_signals{f});
      CHECK(counts_signals::calls == before);
      CHECK(identical(made, run(makes_it_whole{{f}})));
      CHECK(counts_signals::calls == before + P * 12);
    };
    check(top_k{.density = 0.05}, 30000);  // large enough to be sampled
    check(top_k{.density = 1}, n);
    check(chunked_top_k{.density = 0.1, .chunk = 64}, n);
    check(chunked_top_k{.density = 0.01, .chunk = 5000}, 30000);
  }
}

TEST_CASE("feedback::momentum_correction clips the gradient of a rank to its share of the norm") {
  for (int const world : {1, 4, 16}) {
    lone_rank r(0, world);
    auto const g = heavy_tailed(n, 5);
    auto const size = norm(g), share = 1 / std::sqrt(static_cast<double>(world));
    for (double const clip : {0.25, 1e6}) {
      momentum_correction const f{.clip = clip};
      state_of<momentum_correction, host> state(f, r.ctx, shape{n, 1});
      buffer<host> rest("rest", n);
      auto const a = f.compensate(r.ctx, over(g), state, view<host>(rest));
      CHECK(norm(copied(a)) == doctest::Approx(clip == 0.25 ? 0.25 * share : size).epsilon(1e-5));
      r.release();
    }
  }
  momentum_correction const f{.clip = 1};
  for (auto const bad : not_finite) {  // must be seen by whoever reads the signal
    lone_rank r;
    auto g = heavy_tailed(n, 5);
    g[7] = bad;
    state_of<momentum_correction, host> state(f, r.ctx, shape{n, 1});
    buffer<host> rest("rest", n);
    CHECK_FALSE(std::isfinite(f.compensate(r.ctx, over(g), state, view<host>(rest))(7)));
  }
}

TEST_CASE("feedback::momentum_correction: a tensor that travels whole is delivered, and its momentum forgotten") {
  constexpr std::size_t large = 100000;
  std::vector<std::string> complaints(2);
  run_ranks(2, [&](thread_communicator& c) {
    // A link so fast that the codec does not pay.
    reducer r{gradpress::serial{}, c, {.link = link_costs{{1e-9, 1e-15}, {1e-9, 1e-15}}}};
    auto const w = r.add("w", large, 1, compress_with(top_k{.density = 0.1}, momentum_correction{}, automatic{}));
    auto& complaint = complaints[static_cast<std::size_t>(c.rank())];
    recollection seen;
    train(r, w, c.rank(), large, 0, 3, seen);
    if (norm(seen.state.at("residual")) == 0 || norm(seen.state.at("momentum")) == 0) complaint += "nothing kept; ";
    auto const before = seen.state;
    train(r, w, c.rank(), large, 3, 4, seen);
    if (r.stats().sent_dense != 1) complaint += "did not travel whole; ";
    if (norm(seen.state.at("residual")) != 0 || norm(seen.state.at("momentum")) != 0) complaint += "something kept; ";
    r.rollback();
    train(r, w, c.rank(), large, 0, 0, seen);
    if (seen.state != before) complaint += "not rolled back; ";
  });
  for (auto const& complaint : complaints) CHECK(complaint == "");
}

TEST_CASE("feedback::momentum_correction: saves, loads, rolls back and refuses as every memory does") {
  check_resumes(compress_with(top_k{.density = 0.1}, momentum_correction{}));
  check_resumes(compress_with(top_k{.density = 0.1}, momentum_correction{.nesterov = true, .clip = 2}));
  CHECK(describe(momentum_correction{}) == "momentum_correction(momentum=0.9,nesterov=false,clip=0,masking=true)");
  auto const refused = [](momentum_correction const& f) {
    CHECK_THROWS_AS(check_knobs(compress_with(f)), configuration_error);
  };
  for (double const bad : {-0.1, 1., std::numeric_limits<double>::quiet_NaN()}) refused({.momentum = bad});
  for (double const bad : {-1., std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    refused({.clip = bad});
}
