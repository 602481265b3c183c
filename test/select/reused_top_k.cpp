// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/reused_top_k.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/momentum_correction.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_state_laws.hpp"
#include "../support/distributions.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;
static_assert(selector<reused_top_k> && keeps_state<reused_top_k> && !keeps_state<top_k>);
static_assert(reused_top_k::where == support::own && !reused_top_k::fixed_size);
static_assert(selects_sums<reused_top_k> && selects_while_making<reused_top_k>);

namespace {
/// A part that stays and a part that is new in every step.
floats drifting(std::size_t step, std::size_t n, float scale = 1) {
  auto x = gaussian(n, 7);
  auto const fresh = gaussian(n, static_cast<unsigned>(100 + step));
  for (std::size_t i = 0; i < n; ++i) x[i] = scale * (x[i] + 0.2f * fresh[i]);
  return x;
}
double mass(kept_t const& kept, floats const& x) {
  double m = 0;
  for (auto const i : kept) m += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return m;
}
float exact_selections(selector_life<reused_top_k>& r) { return r.state.stands(1); }
float threshold_of(selector_life<reused_top_k>& r) { return r.state.stands(0); }
}  // namespace

TEST_CASE("select::reused_top_k obeys the laws of selectors, and of those that remember") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) {
    check_selector(reused_top_k{.density = d});
    check_selector_state(reused_top_k{.density = d, .period = 5});
    check_selector_state(reused_top_k{.density = d, .period = 1});
  }
}

TEST_CASE("select::reused_top_k: period 1 is top_k, step for step") {
  constexpr std::size_t n = 20000;
  selector_life<reused_top_k> r({.density = 0.01, .period = 1}, n);
  for (std::size_t s = 0; s < 5; ++s) CHECK(r.step(drifting(s, n)).indices == run_select(top_k{0.01}, drifting(s, n)));
  CHECK(exact_selections(r) == 5);
}

TEST_CASE("select::reused_top_k: in 100 steps of period 32 four selections are exact, and little mass is left out") {
  constexpr std::size_t n = 50000, k = 500;
  selector_life<reused_top_k> r({.density = 0.01}, n);
  double kept = 0, best = 0, least = 1;
  for (std::size_t s = 0; s < 100; ++s) {
    auto const x = drifting(s, n);
    auto const exact = run_select(top_k{0.01}, x), ours = r.step(x).indices;
    CHECK(ours.size() <= k);
    CHECK(ours.size() >= k - k / 5);
    CHECK(are_largest(ours, x));
    if (s % 32 == 0) CHECK(ours == exact);
    auto const share = mass(ours, x) / mass(exact, x);
    least = std::min(least, share);
    kept += mass(ours, x);
    best += mass(exact, x);
  }
  CHECK(exact_selections(r) == 4);  // steps 0, 32, 64, 96
  CHECK(least > 0.85);
  CHECK(kept / best > 0.97);
  MESSAGE("of the mass of exact top-k: ", kept / best, ", in the worst step ", least);
}

TEST_CASE("select::reused_top_k: a threshold that no longer fits is replaced in the same step, and that is counted") {
  constexpr std::size_t n = 50000, k = 500;
  selector_life<reused_top_k> r({.density = 0.01}, n);
  r.step(drifting(0, n));
  r.step(drifting(1, n));
  REQUIRE(exact_selections(r) == 1);
  for (float const up : {8.f, 1e6f}) {  // everything passes; the message does not grow, and it is the exact top-k
    auto const x = drifting(2, n, up);
    CHECK(r.step(x).indices == run_select(top_k{0.01}, x));
    CHECK(exact_selections(r) == 1);
  }
  auto const x = drifting(3, n);  // nothing passes
  CHECK(r.step(x).indices == run_select(top_k{0.01}, x));
  CHECK(exact_selections(r) == 2);
  CHECK(r.step(drifting(4, n)).indices.size() >= k - k / 5);
  CHECK(exact_selections(r) == 2);
}

TEST_CASE("select::reused_top_k: fewer than 0.8 k are not enough, and 0.8 k are") {
  constexpr std::size_t n = 1000;  // k = 100
  for (std::size_t const pass : {79u, 80u, 99u, 100u, 101u, 1000u}) {
    CAPTURE(pass);
    selector_life<reused_top_k> r({.density = 0.1}, n);
    r.step(floats(n, 2.f));
    CHECK(threshold_of(r) == 2.f);
    floats x(n, 1.f);
    std::fill_n(x.data(), pass, -2.f);
    auto const kept = r.step(x).indices;
    CHECK(kept.size() == (pass < 80 ? 100 : std::min<std::size_t>(pass, 100)));
    CHECK(exact_selections(r) == (pass < 80 ? 2 : 1));
    CHECK(threshold_of(r) == (pass < 80     ? 1.f
                              : pass >= 100 ? 2.f
                                            : 2 * (0.5f + 0.5f * static_cast<float>(pass) / 100)));
  }
}

TEST_CASE("select::reused_top_k: zeros are never sent, and few entries need no search") {
  constexpr std::size_t n = 30000;
  selector_life<reused_top_k> r({.density = 0.01}, n);
  CHECK(r.step(floats(n)).indices.empty());
  CHECK(r.step(floats(n)).indices.empty());
  CHECK(r.step(one_hot(n)).indices == kept_t{n / 3});
  CHECK(r.step(floats(n)).indices.empty());
  CHECK(exact_selections(r) == 1);
  auto const x = drifting(0, n);
  CHECK(r.step(x).indices == run_select(top_k{0.01}, x));  // all pass, the largest are kept
  selector_life<reused_top_k> none({.density = 0.01}, 0);
  CHECK(none.step({}).indices.empty());
  CHECK(none.step({}).indices.empty());
}

TEST_CASE("select::reused_top_k: the counter of steps decides, so that ranks and tensors are exact together") {
  constexpr std::size_t n = 5000;
  for (std::uint64_t const from : {1u, 31u, 32u, 63u}) {
    CAPTURE(from);
    selector_life<reused_top_k> r({.density = 0.02}, n);
    r.rank.ctx.number = from;
    r.step(drifting(0, n));
    CHECK(exact_selections(r) == 1);  // nothing was known
    for (std::size_t s = 1; s < 4; ++s) r.step(drifting(s, n));
    CHECK(exact_selections(r) == (from == 31 || from == 63 ? 2 : 1));
  }
}

TEST_CASE("select::reused_top_k: whatever a checkpoint brings as threshold, the selection is a legal one") {
  constexpr std::size_t n = 5000, k = 100;
  for (float const t : {-1.f, 0.f, 1e-45f, 3e38f, not_finite[0], not_finite[1], not_finite[2]}) {
    CAPTURE(t);
    selector_life<reused_top_k> r({.density = 0.02}, n);
    r.rank.ctx.number = 1;
    r.state.stands(0) = t;
    auto const x = drifting(0, n);
    CHECK(r.step(x).indices == run_select(top_k{0.02}, x));
    CHECK(threshold_of(r) > 0);
    CHECK(r.step(drifting(1, n)).indices.size() >= k - k / 5);
  }
}

TEST_CASE("select::reused_top_k gives the same indices on every path, also where the sum goes around the caches") {
  constexpr std::size_t n = (std::size_t{1} << 20) + 77;
  reused_top_k const s{.density = 0.01};
  auto const first = laplace(n), x = laplace(n, 3);
  selector_life<reused_top_k> r(s, n);
  r.step(first);
  auto const once = r.select(x).indices;
  floats g(n), e(n), a(n), values(s.max_kept(n));
  for (std::size_t i = 0; i < n; ++i) e[i] = x[i] / 2, g[i] = x[i] - e[i];
  auto const sum = plus(g, e);
  for_each_isa([&] {
    CHECK(r.select(x).indices == once);
    selection<host> kept{buffer<host, index_t>("kept", s.max_kept(n)), 0};
    CHECK(
        s.select_sum(r.rank.ctx, over(std::as_const(g)), over(std::as_const(e)), over(a), kept, over(values), r.state));
    r.rank.release();
    CHECK(identical(a, sum));
    CHECK(kept_t(kept.indices.data(), kept.indices.data() + kept.count) == r.select(sum).indices);
  });
}

TEST_CASE("select::reused_top_k: a rollback, a failed step and a checkpoint change nothing of what follows") {
  check_resumes(compress_with(reused_top_k{.density = 0.05, .period = 4}, error_feedback{}));
  check_resumes(compress_with(reused_top_k{.density = 0.05, .period = 100}));
  check_resumes(compress_with(reused_top_k{.density = 0.05, .period = 3}, momentum_correction{}));
  check_resumes(compress_with(low_rank{.rank = 2, .minimum_rate = 0}, reused_top_k{.density = 0.5, .period = 4},
                              error_feedback{}));
}

TEST_CASE("select::reused_top_k: each rank has a threshold of its own, which its checkpoint holds") {
  std::vector<floats> thresholds(3);
  run_ranks(3, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 300, 1, compress_with(reused_top_k{.density = 0.05}, error_feedback{}));
    recollection ignored;
    train(r, w, c.rank(), 300, 0, 4, ignored);
    std::ostringstream file;
    r.save(file);
    auto const text = file.str();
    auto& t = thresholds[static_cast<std::size_t>(c.rank())];
    t.resize(2);
    std::memcpy(t.data(), text.data() + text.find("threshold\2") + 17, 8);  // behind the name and a u64, which is 2
  });
  for (auto const& t : thresholds) {
    CHECK(t[0] > 0);
    CHECK((t[1] >= 1 && t[1] <= 4));
  }
  CHECK(thresholds[0][0] != thresholds[1][0]);
}

TEST_CASE("select::reused_top_k: other knobs, and a step that is taken back, leave it in order") {
  constexpr std::size_t n = 4000;
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, compress_with(reused_top_k{.density = 0.01}, error_feedback{}));
  auto const sent = [&](std::size_t step) {
    auto g = drifting(step, n);
    r.average(w, std::span(g));
    return nonzeros(g);
  };
  for (std::size_t s = 0; s < 3; ++s) CHECK(sent(s) >= 32);
  r.set(w, "density", "0.12");  // twelve times as many
  CHECK(sent(3) == 480);
  CHECK(sent(4) >= 384);
  r.set(w, "density", "0.001");
  CHECK(sent(5) == 4);
  r.rollback();
  CHECK(sent(5) == 4);
}

TEST_CASE("select::reused_top_k has a text form and refuses knobs out of range") {
  CHECK(describe(reused_top_k{.density = 0.25, .period = 8}) == "reused_top_k(density=0.25,period=8)");
  CHECK_THROWS_AS(reused_top_k{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((reused_top_k{.period = 0}.check()), "reused_top_k: period must be at least 1, it is 0",
                       configuration_error);
}
