// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include "../support/lone_rank.hpp"

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/schedule/piecewise.hpp>
#include <gradpress/schedule/warm_up.hpp>

#include <doctest/doctest.h>

#include <sstream>

using namespace gradpress;
using test::floats;

namespace {
using host_reducer = reducer<gradpress::serial>;
constexpr std::size_t n = 600;

void require(bool good, std::string const& what) {
  if (!good) throw std::runtime_error(what);
}
bool has(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }
template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (std::exception const& e) {
    return e.what();
  }
  return "accepted";
}
floats gradient(int rank, std::uint64_t step) {
  floats g(n);
  for (std::size_t i = 0; i < n; ++i) g[i] = key{step}.with(static_cast<std::uint64_t>(rank)).uniform(i) - 0.5f;
  return g;
}
std::size_t kept(floats const& update) {
  return static_cast<std::size_t>(std::count_if(update.begin(), update.end(), [](float v) { return v != 0; }));
}
floats memory_of(host_reducer& r, host_reducer::tensor t) {
  floats all;
  r.visit(t, [&](char const*, auto const& b) { all = test::copied(b); });
  return all;
}
auto eight_bits() { return compress_with(stochastic_int{.bits = 8, .block = 64}); }
}  // namespace

TEST_CASE("reducer: a live density changes what is sent from the next step on, and loses nothing") {
  // Entries are multiples of 840 with sums below 2^24: every mean is exact, so what vanishes is exactly zero.
  for (auto const* method : {"gathered", "tree"})
    run_ranks(4, [&](thread_communicator& c) {
      host_reducer r{gradpress::serial{}, c};
      auto const w =
          method == std::string("tree") ? r.add("w", n, 1, gtop_k_sgd(0.01)) : r.add("w", n, 1, top_k_sgd(0.01));
      std::vector<double> sent(n), came(n);
      double const densities[] = {0.01, 0.25, 0.25, 0.002, 1.0, 0.05};
      for (std::uint64_t s = 0; s < 6; ++s) {
        r.set(w, "density", densities[s]);
        require(has(r.method(w), "density=" + number_text(densities[s])), r.method(w));
        auto g = gradient(c.rank(), s);
        for (auto& v : g) v = 840 * std::round(20 * v);
        for (std::size_t i = 0; i < n; ++i) sent[i] += static_cast<double>(g[i]);
        r.average(w, std::span(g));
        auto const k = kept_of(densities[s], n);
        require(kept(g) <= (method == std::string("tree") ? k : 4 * k) && kept(g) >= k / 2, "entries of the update");
        for (std::size_t i = 0; i < n; ++i) came[i] += static_cast<double>(g[i]);
      }
      auto const e = memory_of(r, w);
      std::vector<double> mine(n), all(4 * n);
      for (std::size_t i = 0; i < n; ++i) mine[i] = sent[i] - static_cast<double>(e[i]);
      c.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
      for (std::size_t i = 0; i < n; ++i)
        require(all[i] + all[n + i] + all[2 * n + i] + all[3 * n + i] == 4 * came[i], "something vanished");
    });
}

TEST_CASE("reducer: a step after a change equals that of a reducer which had the value all along") {
  self_communicator alone;
  host_reducer live{gradpress::serial{}, alone}, fresh{gradpress::serial{}, alone};
  auto const a = live.add("w", n, 1, eight_bits()),
             b = fresh.add("w", n, 1, compress_with(stochastic_int{.bits = 2, .block = 128}));
  live.set(a, "bits", 2);
  live.set(a, "stochastic_int.block", 128);
  CHECK(live.method(a) == fresh.method(b));
  auto x = gradient(0, 0), y = x;
  live.average(a, std::span(x));
  fresh.average(b, std::span(y));
  CHECK(test::identical(x, y));
  CHECK(live.stats().bytes_sent == fresh.stats().bytes_sent);
}

TEST_CASE("reducer: a knob of the exchange moves the tensor to the lane of the others that have it") {
  run_ranks(3, [](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const a = r.add("a", n, 1, gtop_k_sgd(0.02)), b = r.add("b", n, 1, gtop_k_sgd(0.02));
    require(r.lanes() == 1, "one lane at first");
    r.set(a, "dropped", "published");
    require(r.lanes() == 2, "two lanes");
    floats x = gradient(c.rank(), 0), y = gradient(c.rank(), 1);
    r.stage(a, std::span(x));
    r.stage(b, std::span(y));
    r.average();
    r.set(b, "gtop_k.dropped", "published");
    require(r.lanes() == 1, "one lane again, and none that nobody uses");
    r.stage(a, std::span(x));
    r.stage(b, std::span(y));
    r.average();
  });
}

TEST_CASE("reducer: a knob, a name and a shape can be asked for") {
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", 20, 30, lq_sgd(3, 8)), v = r.add("v", n, 1, eight_bits());
  CHECK(r.name(w) == "w");
  CHECK(r.dims(w).rows == 20);
  CHECK(r.dims(w).cols == 30);
  CHECK(r.knob(w, "rank") == "3");
  CHECK(r.knob(w, "low_rank.memory") == "local");
  r.set(w, "rank", 5);
  CHECK(r.knob(w, "low_rank.rank") == "5");
  CHECK(r.knob(v, "bits") == "8");
  CHECK(has(message_of([&] { static_cast<void>(r.knob(v, "rank")); }), "tensor 'v': there is no knob 'rank'"));
}

TEST_CASE("reducer: what cannot be set is one clear error and changes nothing") {
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, compress_with(top_k{}, stochastic_int{}, error_feedback{}));
  auto const p = r.add("p", 20, 30, power_sgd(2));
  auto const before = r.method(w), of_p = r.method(p);
  auto const refusal = [&](auto t, auto knob, auto value) {
    auto const what = message_of([&] { r.set(t, knob, value); });
    CHECK(r.method(w) == before);
    CHECK(r.method(p) == of_p);
    return what;
  };
  CHECK(has(refusal(w, "densty", 0.1),
            "rank 0: tensor 'w': there is no knob 'densty'; the knobs of its method are: "
            "top_k.density, stochastic_int.bits, stochastic_int.block, stochastic_int.mode"));
  CHECK(has(refusal(w, "random_k.density", 0.1), "no knob 'random_k.density'"));
  CHECK(has(refusal(w, "density", 1.5), "tensor 'w': top_k: density must lie in (0, 1]"));
  CHECK(has(refusal(w, "density", std::nan("")), "density must lie in (0, 1]"));
  CHECK(has(refusal(w, "bits", 3), "bits must be 8, 4 or 2"));
  CHECK(has(refusal(w, "bits", 4.5), "'4.5' is no value of stochastic_int.bits, which takes a whole number"));
  CHECK(has(refusal(w, "mode", "up"), "'up' is no value of stochastic_int.mode, which takes "));
  CHECK(has(refusal(p, "rank", 33), "tensor 'p': low_rank: rank must lie in 1..32, it is 33"));
  CHECK(has(refusal(host_reducer::tensor{7}, "density", 0.1), "does not know"));
  CHECK(has(message_of([&] { r.follow(w, "density", constant{0}); }), "density must lie in (0, 1]"));
  CHECK(has(message_of([&] { r.follow(w, "density", warm_up{.steps_per_epoch = 0}); }), "at least 1"));
}

TEST_CASE("reducer: ranks that set differently are told before the first byte, and may set right and go on") {
  std::vector<std::string> said(4);
  run_ranks(4, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, top_k_sgd(0.01));
    if (c.rank() == 2) r.set(w, "density", 0.02);
    auto g = gradient(c.rank(), 0);
    auto const before = g;
    said[static_cast<std::size_t>(c.rank())] = message_of([&] { r.average(w, std::span(g)); });
    require(g == before && r.stats().bytes_sent == 0, "something was sent");
    r.set(w, "density", 0.02);
    r.average(w, std::span(g));
  });
  CHECK(has(said[0], "methods of rank 2"));
  CHECK(has(said[0], "'w'"));
  for (auto const& s : said) CHECK(s == said[0]);
}

TEST_CASE("reducer: a schedule is followed by step number, also after a step that failed or was taken back") {
  run_ranks(4, [](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c}, straight{gradpress::serial{}, c};
    auto const pieces = piecewise{{{0, 0.5}, {2, 0.1}, {3, 0.02}}};
    auto const w = r.add("w", n, 1, top_k_sgd(0.01)), v = straight.add("w", n, 1, top_k_sgd(0.01));
    r.follow(w, "density", pieces);
    straight.follow(v, "density", pieces);
    auto const density = [&] { return r.method(w).substr(r.method(w).find('=') + 1, 4); };
    require(density() == "0.5)", "from the start");
    std::string const expected[] = {"0.5)", "0.5)", "0.1)", "0.02"};
    for (std::uint64_t s = 0; s < 4; ++s) {
      auto g = gradient(c.rank(), s), h = g;
      if (s == 2) {  // one rank has no number; then a step is taken and taken back
        auto bad = g;
        if (c.rank() == 1) bad[5] = std::numeric_limits<float>::quiet_NaN();
        require(has(message_of([&] { r.average(w, std::span(bad)); }), "not finite"), "must fail");
        auto other = gradient(c.rank(), 99);
        r.average(w, std::span(other));
        r.rollback();
      }
      r.average(w, std::span(g));
      require(density() == expected[s], "step " + std::to_string(s) + ": " + r.method(w));
      straight.average(v, std::span(h));
      require(test::identical(g, h) && test::identical(memory_of(r, w), memory_of(straight, v)), "the detour shows");
    }
    r.set(w, "density", 0.3);
    auto g = gradient(c.rank(), 4);
    r.average(w, std::span(g));
    require(density() == "0.3)", "set ends the schedule");
  });
}

TEST_CASE("reducer: a memory survives a change between a step and its rollback") {
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, top_k_sgd(0.1));
  auto g = gradient(0, 0);
  r.average(w, std::span(g));
  auto const before = memory_of(r, w);
  g = gradient(0, 1);
  r.average(w, std::span(g));
  r.set(w, "density", 0.3);
  r.rollback();
  CHECK(test::identical(memory_of(r, w), before));
  CHECK(has(r.method(w), "density=0.3"));
}

TEST_CASE("reducer: an illegal value of a schedule fails its step on all ranks, and nothing else") {
  std::vector<std::string> said(2);
  run_ranks(2, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add_group("all", {{"x", 200}, {"y", 400}}, top_k_sgd(0.1));
    bool broken = true;
    r.follow(w[0], "density", [&](std::uint64_t step) { return step == 1 && broken ? 7.0 : 0.1; });
    auto g = gradient(c.rank(), 0);
    auto const average = [&] {
      r.stage(w[0], std::span(g).first(200));
      r.stage(w[1], std::span(g).subspan(200));
      r.average();
    };
    average();
    auto const kept = g;
    said[static_cast<std::size_t>(c.rank())] = message_of(average);
    require(g == kept, "the gradient changed");
    broken = false;
    average();
  });
  CHECK(said[0] == said[1]);
  CHECK(has(said[0], "tensor 'all': top_k: density must lie in (0, 1], it is 7"));
}

TEST_CASE("reducer: checkpoints keep the knobs as they were set; a schedule goes on at its step") {
  run_ranks(2, [](thread_communicator& c) {
    auto const build = [&](host_reducer& r) {
      std::vector<host_reducer::tensor> t = {r.add("set", n, 1, top_k_sgd(0.01)),
                                             r.add("followed", n, 1, gtop_k_sgd(0.01)),
                                             r.add("stateless", n, 1, eight_bits())};
      auto const g = r.add_group("group", {{"g1", 100}, {"g2", n - 100}}, top_k_sgd(0.02));
      t.insert(t.end(), g.begin(), g.end());
      r.follow(t[1], "density", piecewise{{{0, 0.2}, {3, 0.05}, {6, 0.005}}});
      return t;
    };
    auto const train = [&](host_reducer& r, std::vector<host_reducer::tensor> const& t, std::uint64_t from,
                           std::uint64_t to) {
      floats log;
      for (auto s = from; s < to; ++s) {
        auto a = gradient(c.rank(), s), b = a, d = a, e = a;
        r.stage(t[0], std::span(a)), r.stage(t[1], std::span(b)), r.stage(t[2], std::span(d));
        r.stage(t[3], std::span(e).first(100)), r.stage(t[4], std::span(e).subspan(100));
        r.average();
        for (auto const* v : {&a, &b, &d, &e}) log.insert(log.end(), v->begin(), v->end());
      }
      return log;
    };
    host_reducer a{gradpress::serial{}, c};
    auto const ta = build(a);
    train(a, ta, 0, 2);
    a.set(ta[0], "density", 0.07);
    a.set(ta[2], "bits", 2);
    a.set(ta[4], "density", 0.3);
    train(a, ta, 2, 5);
    std::stringstream file;
    a.save(file);
    auto const bytes = file.str();
    auto const through = train(a, ta, 5, 9);

    host_reducer b{gradpress::serial{}, c};
    auto const tb = build(b);
    b.set(tb[2], "block", 256);  // not so when it was saved
    b.load(file);
    require(b.method(tb[0]).find("density=0.07") != std::string::npos, b.method(tb[0]));
    require(b.method(tb[2]) == a.method(ta[2]), b.method(tb[2]));
    require(b.method(tb[3]).find("density=0.3") != std::string::npos, b.method(tb[3]));
    require(test::identical(train(b, tb, 5, 9), through), "resumed differently");

    // A file that does not fit leaves knobs and memories alone.
    host_reducer other{gradpress::serial{}, c};
    auto const to = build(other);
    other.add("more", 5, 1, top_k_sgd());
    auto const before = other.method(to[0]);
    std::istringstream again(bytes);
    require(has(message_of([&] { other.load(again); }), "'more'"), "must be refused");
    require(other.method(to[0]) == before, "knobs changed");
    host_reducer third{gradpress::serial{}, c};
    auto const set = third.add("set", n, 1, top_k_sgd(0.01));
    third.add("followed", n, 1, gtop_k_sgd(0.01));
    third.add_group("group", {{"g1", 100}, {"g2", n - 100}}, top_k_sgd(0.02));
    std::istringstream once_more(bytes);
    require(has(message_of([&] { third.load(once_more); }), "'stateless': is in the checkpoint"), "stateless");
    auto const untouched = memory_of(third, set);
    require(std::all_of(untouched.begin(), untouched.end(), [](float v) { return v == 0; }), "a memory changed");
  });
}
