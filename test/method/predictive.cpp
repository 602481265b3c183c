// SPDX-License-Identifier: Apache-2.0
#include <gradpress/method/predictive.hpp>

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/schedule/piecewise.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/averaging.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

#include <functional>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using gradient_of_rank = std::function<floats(int rank, int step)>;

/// What all ranks saw, [rank][step].
struct record {
  std::vector<std::vector<floats>> updates;
  std::vector<std::vector<std::uint64_t>> bytes;     // of gradients, as the communicator counted them
  std::vector<std::map<std::string, floats>> state;  // at the end
  /// Steps from `from` on in which a rank sent more than coefficients.
  [[nodiscard]] int sends(std::size_t rank, std::size_t from, int order) const {
    int n = 0;
    for (std::size_t s = from; s < bytes[rank].size(); ++s)
      n += bytes[rank][s] > 44 + 4 + 4 * static_cast<std::uint64_t>(order);
    return n;
  }
};

template <class Method>
record run(int P, int steps, Method const& method, gradient_of_rank const& gradient) {
  auto const ranks = static_cast<std::size_t>(P);
  record all{std::vector<std::vector<floats>>(ranks), std::vector<std::vector<std::uint64_t>>(ranks),
             std::vector<std::map<std::string, floats>>(ranks)};
  run_ranks(P, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    counting<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    auto const w = r.add("w", gradient(0, 0).size(), method);
    for (int s = 0; s < steps; ++s) {
      auto g = gradient(c.rank(), s);
      comm.reset(), r.reset_statistics();
      r.average(w, std::span(g));
      all.updates[p].push_back(g);
      all.bytes[p].push_back(comm.bytes() - r.stats().control_bytes);
      if (all.bytes[p].back() != r.stats().bytes_sent) throw std::logic_error("bytes and statistics differ");
    }
    r.visit(w, [&](char const* name, auto const& b) { all.state[p][name] = copied(b); });
  });
  return all;
}

/// sum over modes m of rate_m^t v_m, v_m of this rank.
floats modes_at(int rank, int step, std::size_t n, std::vector<double> const& rates) {
  floats g(n);
  for (std::size_t m = 0; m < rates.size(); ++m) {
    auto const v = heavy_tailed(n, 100 * static_cast<std::uint64_t>(rank) + m + 1);
    auto const size = std::pow(rates[m], step);
    for (std::size_t i = 0; i < n; ++i) g[i] += static_cast<float>(size * static_cast<double>(v[i]));
  }
  return g;
}
/// A slow mode and some noise of its own: sometimes worth a send, sometimes not.
floats noisy_at(int rank, int step, std::size_t n) {
  auto g = modes_at(rank, step, n, {0.97, -0.6});
  auto const noise = heavy_tailed(n, static_cast<std::uint64_t>(7000 + 100 * rank + step));
  auto const size = (step + rank) % 3 == 0 ? 0.5f : 0.02f;
  for (std::size_t i = 0; i < n; ++i) g[i] += size * noise[i] * std::pow(0.97f, static_cast<float>(step));
  return g;
}
double relative_distance(floats const& a, floats const& b) {
  double off = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto const d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    off += d * d, size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(off / size);
}
floats mean_at(int P, int step, gradient_of_rank const& gradient) {
  std::vector<floats> all;
  for (int p = 0; p < P; ++p) all.push_back(gradient(p, step));
  return mean_in_order(all);
}

template <class Method>
composition described(Method const& m) {
  composition d;
  d.text = m.text();
  d.fixed_size = false;
  d.add = [m](composition::reducer_type& r, case_tensor const& t) {
    return r.add(t.name, t.dims.rows, t.dims.cols, m);
  };
  return d;
}
/// Calls with(code) for a code of each kind of message.
template <class F>
void for_each_code(F const& with) {
  with(compress_with());
  with(compress_with(top_k{.density = 0.1}));
  with(compress_with(top_k{.density = 0.1}, elias_fano{}));
  with(compress_with(threshold{.tau = 0.3}));
  with(compress_with(random_k{.density = 0.2}));
  with(compress_with(stochastic_int{.bits = 8, .block = 64}));
  with(compress_with(top_k{.density = 0.1}, bf16{}));
}

}  // namespace

TEST_CASE("method::predictive: a decaying gradient is sent once; then coefficients alone, to the byte") {
  constexpr int P = 3, steps = 12;
  constexpr std::size_t n = 1000;
  gradient_of_rank const g = [](int p, int s) { return modes_at(p, s, n, {0.9 - 0.1 * p}); };
  auto const got = run(P, steps, predictive(compress_with(), {.order = 1, .threshold = 1e-3}), g);
  for (std::size_t p = 0; p < P; ++p) {
    CHECK(got.bytes[p][0] == 8 + 32 + 4 + 4 + 4 * n);  // size, header, table; word, residual
    for (std::size_t s = 1; s < steps; ++s) CHECK(got.bytes[p][s] == 8 + 32 + 4 + 4 + 4);  // one coefficient
    for (int s = 0; s < steps; ++s) {
      CHECK(relative_distance(got.updates[p][static_cast<std::size_t>(s)], mean_at(P, s, g)) < 1e-6);
      CHECK(identical(got.updates[p][static_cast<std::size_t>(s)], got.updates[0][static_cast<std::size_t>(s)]));
    }
  }
}

TEST_CASE("method::predictive: p modes need p coefficients, and are then predicted without a send") {
  constexpr std::size_t n = 500;
  std::vector<std::vector<double>> const sequences = {{0.9}, {0.9, -0.7}, {0.95, -0.8, 0.6}, {0.95, -0.9, 0.7, -0.4}};
  for (auto const& rates : sequences) {
    auto const p = static_cast<int>(rates.size());
    CAPTURE(p);
    gradient_of_rank const g = [&](int r, int s) { return modes_at(r, s, n, rates); };
    auto const enough = run(2, 3 * p + 4, predictive(compress_with(), {.order = p, .threshold = 1e-3}), g);
    for (std::size_t r = 0; r < 2; ++r) {
      CHECK(enough.sends(r, 0, p) == p);
      CHECK(enough.sends(r, static_cast<std::size_t>(p), p) == 0);
      CHECK(relative_distance(enough.updates[r].back(), mean_at(2, 3 * p + 3, g)) < 2e-3);
    }
    if (p == 1) continue;
    auto const too_few = run(2, 2 * p + 2, predictive(compress_with(), {.order = p - 1, .threshold = 1e-3}), g);
    CHECK(too_few.sends(0, static_cast<std::size_t>(p), p - 1) == p + 2);
  }
}

TEST_CASE("method::predictive: mirrored histories and updates stay equal for a hundred steps, silent or not") {
  constexpr std::size_t n = 301;
  gradient_of_rank const g = [](int p, int s) { return noisy_at(p, s, n); };
  for_each_code([&](auto const& code) {
    for (int P = 1; P <= 5; ++P) {
      auto const method = predictive(code, {.order = 3, .threshold = 0.3, .check_every = 7});
      CAPTURE(method.text());
      CAPTURE(P);
      auto const got = run(P, 100, method, g);
      auto const first = got.sends(0, 0, 3);
      CHECK(first > 0);
      CHECK(got.state[0].size() == static_cast<std::size_t>(3 * P));
      std::vector<floats> newest;
      for (std::size_t p = 0; p < static_cast<std::size_t>(P); ++p) {
        CHECK(got.state[p] == got.state[0]);
        bool same = true;
        for (std::size_t s = 0; s < 100; ++s) same = same && identical(got.updates[p][s], got.updates[0][s]);
        CHECK(same);
        newest.push_back(got.state[0].at("rank" + std::to_string(p) + ".lag1"));
      }
      CHECK(identical(got.updates[0].back(), mean_in_order(newest)));
    }
  });
  auto const some = run(2, 100, predictive(compress_with(), {.order = 3, .threshold = 0.3}), g);
  CHECK(some.sends(0, 0, 3) > 10);
  CHECK(some.sends(0, 0, 3) < 90);
}

TEST_CASE("method::predictive: the rule, written once more for one coefficient") {
  constexpr std::size_t n = 200;
  constexpr int steps = 30;
  for (bool const relative : {true, false})
    for (double const tau : {0., 0.4, 2.}) {
      auto const method = predictive(compress_with(top_k{.density = 0.1}),
                                     {.order = 1, .threshold = tau, .relative = relative, .decay = 0.98});
      gradient_of_rank const g = [](int, int s) { return noisy_at(0, s, n); };
      auto const got = run(1, steps, method, g);
      floats past;
      bool right = true;
      int sent = 0;
      for (int s = 0; s < steps; ++s) {
        auto const x = g(0, s);
        double dot = 0, own = 0, left = 0;
        for (std::size_t i = 0; s > 0 && i < n; ++i)
          dot += static_cast<double>(x[i]) * static_cast<double>(past[i]),
              own += static_cast<double>(past[i]) * static_cast<double>(past[i]);
        auto const c = own > 0 ? static_cast<double>(static_cast<float>(dot / own)) : 0;
        floats rest(n), next(n);
        for (std::size_t i = 0; i < n; ++i) {
          auto const predicted = s > 0 ? c * static_cast<double>(past[i]) : 0;
          rest[i] = static_cast<float>(static_cast<double>(x[i]) - predicted);
          left += static_cast<double>(rest[i]) * static_cast<double>(rest[i]);
          next[i] = static_cast<float>(predicted);
        }
        bool const sends = s == 0 || std::sqrt(left) > tau * std::pow(0.98, s) * (relative ? std::sqrt(squared(x)) : 1);
        if (sends) {
          auto order = rest;
          std::sort(order.begin(), order.end(), [](float a, float b) { return std::abs(a) > std::abs(b); });
          for (std::size_t i = 0; i < n; ++i)
            if (std::abs(rest[i]) >= std::abs(order[n / 10 - 1])) next[i] += rest[i];
        }
        sent += sends;
        auto const& update = got.updates[0][static_cast<std::size_t>(s)];
        right = right && relative_distance(update, next) < 1e-5;
        CHECK((got.bytes[0][static_cast<std::size_t>(s)] > 44 + 8) == sends);
        past = update;
      }
      CHECK(right);
      CHECK((tau > 0 || sent == steps));
    }
}

TEST_CASE("method::predictive: without a threshold and with a code that loses nothing it is plain averaging") {
  constexpr std::size_t n = 400;
  gradient_of_rank const g = [](int p, int s) { return noisy_at(p, s, n); };
  for (int const order : {1, 2, 8}) {
    auto const got = run(4, 20, predictive(compress_with(), {.order = order, .threshold = 0}), g);
    for (int s = 0; s < 20; ++s)
      for (std::size_t p = 0; p < 4; ++p) {
        CHECK(relative_distance(got.updates[p][static_cast<std::size_t>(s)], mean_at(4, s, g)) < 3e-7);
        CHECK(identical(got.updates[p][static_cast<std::size_t>(s)], got.updates[0][static_cast<std::size_t>(s)]));
      }
  }
}

TEST_CASE("method::predictive: silent for longer than its order, then sending again") {
  constexpr std::size_t n = 300;
  for (int const order : {1, 3, 8})
    run_ranks(2, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, predictive(compress_with(), {.order = order, .threshold = 1e30, .relative = false}));
      auto const first = mean_at(2, 0, [&](int p, int) { return heavy_tailed(n, static_cast<std::uint64_t>(p) + 1); });
      bool good = true;
      for (int s = 0; s < 3 * order; ++s) {  // of unrelated gradients, one line is all that can be predicted
        auto g = heavy_tailed(n, static_cast<std::uint64_t>(c.rank() + 1 + 50 * s));
        auto const before = r.stats().bytes_sent;
        r.average(w, std::span(g));
        for (auto const v : g) good = good && std::isfinite(v);
        if (s > 0)
          good = good && r.stats().bytes_sent - before == 44u + 4u + 4u * static_cast<unsigned>(std::min(s, order));
        if (s == 0) good = good && identical(g, first);
      }
      r.visit(w, [&](char const*, auto const& b) {
        for (std::size_t i = 0; i < n; ++i) good = good && std::isfinite(b(i));
      });
      r.set(w, "threshold", 0);
      auto g = heavy_tailed(n, static_cast<std::uint64_t>(c.rank() + 900));
      gradient_of_rank const last = [&](int p, int) { return heavy_tailed(n, static_cast<std::uint64_t>(p + 900)); };
      r.average(w, std::span(g));
      if (!good || relative_distance(g, mean_at(2, 0, last)) > 3e-7)
        throw std::logic_error("singular histories did harm");
    });
}

TEST_CASE("method::predictive: zeros, single elements and nothing at all") {
  for (std::size_t const n : {0u, 1u, 5u}) {
    auto const got = run(2, 6, predictive(compress_with(top_k{.density = 0.5}), {.order = 2}),
                         [&](int p, int s) { return floats(n, s % 2 == 0 ? 0.f : static_cast<float>(p + 1)); });
    for (std::size_t p = 0; p < 2; ++p)
      for (auto const& u : got.updates[p])
        for (auto const v : u) CHECK(std::isfinite(v));
    if (n == 1) CHECK(got.updates[0][1] == floats{1.5f});
  }
}

TEST_CASE("method::predictive obeys the laws of compositions") {
  for_each_code([](auto const& code) {
    for (int const P : {1, 2, 3, 5})
      check_composition(described(predictive(code, {.order = 2, .threshold = 0.5, .check_every = 3})), P);
  });
}

TEST_CASE("method::predictive: saves, loads and rolls back") {
  for_each_code([](auto const& code) {
    check_resumes(predictive(code, {.order = 2, .threshold = 0.99, .check_every = 3}));
    check_resumes(predictive(code, {.order = 1, .threshold = 0}));
  });
  check_resumes(predictive(compress_with(), {.order = 8, .threshold = 0.7}));
}

TEST_CASE("method::predictive: a checkpoint of another world is refused, whole") {
  std::stringstream file;
  auto const method = predictive(compress_with(top_k{}), {.order = 2});
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    recollection ignored;
    auto const w = r.add("w", 50, method);
    train(r, w, c.rank(), 50, 0, 3, ignored);
    if (c.rank() == 0) r.save(file);
  });
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  r.add("w", 50, method);
  CHECK_THROWS_WITH_AS(r.load(file), doctest::Contains("resume with as many ranks"), state_error);
}

TEST_CASE("method::predictive: a damaged history is noticed on all ranks, named, and all can start over") {
  constexpr int P = 3, every = 4;
  constexpr std::size_t n = 100;
  auto const method =
      predictive(compress_with(top_k{.density = 0.2}), {.order = 2, .threshold = 0.5, .check_every = every});
  gradient_of_rank const gradient = [](int p, int s) { return noisy_at(p, s, n); };
  struct damage {
    std::string mirror, complaint;
  };
  for (auto const& d : {damage{"rank1.lag1", "rank 2: tensor 'w': the past gradients of rank 1 are others here"},
                        damage{"rank2.lag2", "rank 0: tensor 'w': the past gradients of rank 2 are others here"}})
    run_ranks(P, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, method);
      auto const state = [&] {
        std::map<std::string, floats> all;
        r.visit(w, [&](char const* name, auto const& b) { all[name] = copied(b); });
        return all;
      };
      auto const must = [&](bool good, std::string const& what) {
        if (!good) throw std::logic_error(what);
      };
      auto const step = [&](int s) {
        auto g = gradient(c.rank(), s);
        r.average(w, std::span(g));
        return g;
      };
      for (int s = 0; s < every - 1; ++s) step(s);
      if (c.rank() == 2)
        r.visit(w, [&](char const* name, auto const& b) {
          if (name == d.mirror) b(17) = -b(17) - 1;
        });
      auto const before = state();
      auto g = gradient(c.rank(), every - 1);
      auto const handed_in = g;
      try {
        r.average(w, std::span(g));
        must(false, "nobody noticed");
      } catch (error const& e) {
        std::string const what = e.what();
        must(what.find(d.complaint) != std::string::npos, what);
        must(what.find("change the knob resync alike on all of them") != std::string::npos, what);
      }
      must(state() == before && identical(g, handed_in) && r.step_number() == every - 1,
           "a refused step did something");
      r.set(w, "resync", 1);
      auto const sent = r.stats().bytes_sent;
      r.average(w, std::span(g));
      must(r.stats().bytes_sent - sent == 44 + 4 + 8 + 8 * 20, "a step that starts over must send its residual");
      auto const fresh = state();
      std::vector<floats> coded;
      for (int p = 0; p < P; ++p) {
        coded.push_back(fresh.at("rank" + std::to_string(p) + ".lag1"));
        must(squared(fresh.at("rank" + std::to_string(p) + ".lag2")) == 0, "something old was kept");
      }
      must(identical(g, mean_in_order(coded)), "another update than the mean of what was reconstructed");
      for (int s = every; s < 3 * every; ++s) step(s);
      std::vector<float> mine(1, static_cast<float>(squared(state().at("rank0.lag1")))), all(P);
      c.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
      must(all[0] == all[1] && all[1] == all[2], "histories are not the same again");
    });
}

TEST_CASE("method::predictive: a rank that lost its history altogether is noticed in the next step") {
  auto const method = predictive(compress_with(), {.order = 3, .threshold = 0.5});
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 1, method);  // of one element, so that `visit` shows how much is known
    auto const step = [&] {
      floats g{static_cast<float>(c.rank() + 1)};
      r.average(w, std::span(g));
      return g[0];
    };
    step(), step();
    if (c.rank() == 1)
      r.visit(w, [](char const* name, auto const& b) { b(0) = std::string(name) == "known" ? 0 : b(0); });
    std::string text;
    try {
      step();
    } catch (error const& e) {
      text = e.what();
    }
    if (text.find("rank 1: tensor 'w': rank 0 predicts from 2 past gradients, and 0 of it are known here; give all") ==
        std::string::npos)
      throw std::logic_error("not noticed: " + text);
    r.set(w, "resync", 1);
    if (step() != 1.5f || step() != 1.5f) throw std::logic_error("did not start over");
  });
}

TEST_CASE("method::predictive: travels with others, in groups, and the bits stay") {
  constexpr int P = 3;
  constexpr std::size_t n = 120;
  auto const method =
      predictive(compress_with(top_k{.density = 0.1}), {.order = 2, .threshold = 0.4, .check_every = 3});
  auto const step_of = [](int p, int s, int t) { return noisy_at(p + 10 * t, s, n); };
  std::vector<record> lone;
  for (int t = 0; t < 2; ++t) lone.push_back(run(P, 8, method, [&](int p, int s) { return step_of(p, s, t); }));
  auto const joined = run(P, 8, method, [&](int p, int s) {
    auto g = step_of(p, s, 0);
    auto const more = step_of(p, s, 1);
    g.insert(g.end(), more.begin(), more.end());
    return g;
  });
  std::vector<std::string> wrong(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c, {.seed = 3}};
    auto const dense = r.add("bias", n);
    auto const other = r.add("z", n, compress_with(threshold{.tau = 0.3}, error_feedback{}));
    auto const a = r.add("a", n, method), b = r.add("w", n, method);
    auto const group = r.add_group("group", {{"g0", n}, {"g1", n}}, method);
    if (r.lanes() != 3) wrong[p] += "lanes; ";
    for (int s = 0; s < 8; ++s) {
      std::vector<floats> g(6);
      for (std::size_t i = 0; i < 6; ++i) g[i] = step_of(c.rank(), s, i % 2 == 0 ? 0 : 1);
      auto const plain = mean_at(P, s, [&](int q, int t) { return step_of(q, t, 0); });
      reducer<gradpress::serial>::tensor const all[] = {a, b, dense, other, group[0], group[1]};
      for (std::size_t i = 0; i < 6; ++i) r.stage(all[i], std::span(g[i]));
      r.average();
      auto const at = static_cast<std::size_t>(s);
      for (std::size_t t = 0; t < 2; ++t)
        if (!identical(g[t], lone[t].updates[p][at])) wrong[p] += "tensor; ";
      if (relative_distance(g[2], plain) > 1e-6) wrong[p] += "dense; ";
      auto ends = g[4];
      ends.insert(ends.end(), g[5].begin(), g[5].end());
      if (!identical(ends, joined.updates[p][at])) wrong[p] += "group; ";
    }
  });
  for (auto const& w : wrong) CHECK(w == "");
}

TEST_CASE("method::predictive: knobs are checked, compared, changed and followed while it lives") {
  auto const code = compress_with(top_k{.density = 0.1});
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (auto const& bad : {temporal_prediction{.order = 0},
                          {.order = 9},
                          {.threshold = -0.1},
                          {.threshold = nan},
                          {.decay = 0},
                          {.decay = 1.1},
                          {.decay = nan},
                          {.check_every = -1}})
    CHECK_THROWS_AS(check_knobs(predictive(code, bad)), configuration_error);
  CHECK_THROWS_WITH(check_knobs(predictive(code, {.order = 9})),
                    "temporal_prediction: order must lie in [1, 8], it is 9");
  CHECK_THROWS_AS(check_knobs(predictive(compress_with(top_k{.density = -1}))), configuration_error);
  CHECK_NOTHROW(check_knobs(predictive(code, {.order = 8, .threshold = 0, .check_every = 0})));
  CHECK(predictive(code, {.order = 2}).text() ==
        "temporal_prediction(order=2,threshold=0.1,relative=true) of identity|top_k(density=0.1)|none|none|all_gather");
  temporal_prediction const falling{.threshold = 8, .relative = false, .decay = 0.5, .check_every = 5};
  CHECK(falling.limit(0, 3) == 8);
  CHECK(falling.limit(3, 3) == 1);
  CHECK(temporal_prediction{.threshold = 0.5}.limit(3, 3) == 1.5);
  CHECK((falling.checks(4) && falling.checks(9) && !falling.checks(0) && !falling.checks(5)));
  CHECK(!temporal_prediction{.check_every = 0}.checks(0));

  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 100, predictive(code, {.order = 2, .threshold = 1e9, .relative = false}));
    recollection of;
    auto const bytes_of_step = [&](int s) {
      auto const before = r.stats().bytes_sent;
      train(r, w, c.rank(), 100, s, s + 1, of);
      return r.stats().bytes_sent - before;
    };
    auto const must = [&](bool good, std::string const& what) {
      if (!good) throw std::logic_error(what);
    };
    must(bytes_of_step(0) == 44 + 4 + 80, "the first is sent");
    must(bytes_of_step(1) == 44 + 8, "the second is silent");
    r.set(w, "threshold", 0);
    must(bytes_of_step(2) == 44 + 12 + 80, "now it is sent");
    r.set(w, "top_k.density", 0.2);
    must(bytes_of_step(3) == 44 + 12 + 160, "with more entries");
    r.set(w, "order", 3);
    must(r.knob(w, "order") == "3" && r.knob(w, "density") == "0.2", "knobs read back");
    must(bytes_of_step(4) == 44 + 4 + 160, "another order starts over");
    must(bytes_of_step(5) == 44 + 8 + 160, "and fills again");
    r.follow(w, "threshold", piecewise{{{0, 0}, {7, 1e9}}});
    must(bytes_of_step(6) == 44 + 12 + 160, "followed");
    must(bytes_of_step(7) == 44 + 16, "followed further");
    try {
      r.set(w, "order", 9);
      must(false, "an illegal order");
    } catch (configuration_error const&) {
    }
    if (c.rank() == 1) r.set(w, "decay", 0.5);
    try {
      bytes_of_step(8);
      must(false, "different knobs");
    } catch (configuration_error const& e) {
      must(std::string(e.what()).find("methods") != std::string::npos, e.what());
    }
  });
}

TEST_CASE("method::predictive: what a watched tensor leaves behind is what the prediction and the code lack") {
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    constexpr std::size_t n = 200;
    auto const w = r.add("w", n, predictive(compress_with(top_k{.density = 0.1}), {.order = 2, .threshold = 0.3}));
    measurement last;
    r.watch(w, [&](measurement const& m) { last = m; }, {.signals = true});
    int silent = 0, sent = 0;
    for (int s = 0; s < 20; ++s) {
      auto const mine = noisy_at(c.rank(), s, n);
      auto g = mine;
      r.average(w, std::span(g));
      floats known;
      r.visit(w, [&](char const* name, auto const& b) {
        if (name == "rank" + std::to_string(c.rank()) + ".lag1") known = copied(b);
      });
      auto const left = relative_distance(known, mine) * std::sqrt(squared(mine));
      if (std::abs(last.left_behind - left) > 1e-5 * std::sqrt(squared(mine))) throw std::logic_error("another norm");
      if (std::abs(last.signal - std::sqrt(squared(mine))) > 1e-5 * last.signal)
        throw std::logic_error("another signal");
      ++(last.bytes_sent > 44 + 12 ? sent : silent);
    }
    if (silent == 0 || sent < 2) throw std::logic_error("nothing was compared");
  });
}

TEST_CASE("method::predictive: no message that an honest rank does not write gets through, none changes a state") {
  using coder_type = tensor_coder<host, decltype(predictive(compress_with(top_k{})))>;
  auto const method = predictive(compress_with(top_k{.density = 0.1}), {.order = 2, .threshold = 0.9});
  constexpr std::size_t n = 60;
  lone_rank here(0, 2), there(1, 2);
  coder_type mine(method, here.ctx, {n, 1}), theirs(method, there.ctx, {n, 1});
  using message = std::vector<std::byte>;
  auto const seen = [](message const& m) { return in_bytes<host>(m.data(), m.size()); };
  auto const encode = [&](coder_type& c, lone_rank& r, floats const& g) {
    static_cast<void>(c.begin(r.ctx));
    message m(c.capacity(0, 2));
    m.resize(c.encode(r.ctx, over(g), bytes<host>(m.data(), m.size())));
    r.release();
    return m;
  };
  auto const check = [&](coder_type& c, lone_rank& r, message const& a, message const& b) {
    in_bytes<host> const both[] = {seen(a), seen(b)};
    c.check(r.ctx, {both, arrival_form::each});
    r.release();
  };
  auto const state = [&] {
    std::map<std::string, floats> all;
    mine.visit(here.ctx, [&](char const* name, auto const& b) { all[name] = copied(b); });
    return all;
  };
  auto const put = [](message m, std::size_t at, std::uint32_t w) {
    std::memcpy(m.data() + at, &w, 4);
    return m;
  };
  auto const louder = [](floats g) {
    for (auto& v : g) v *= 1000;
    return g;
  };
  std::size_t const silent = 4 + 4 * 2;
  for (std::uint64_t s = 0; s < 6; ++s) {
    CAPTURE(s);
    here.ctx.number = there.ctx.number = s;
    auto const m = encode(mine, here, louder(modes_at(0, static_cast<int>(s), n, {0.9})));
    auto const good = encode(
        theirs, there, s == 3 ? louder(heavy_tailed(n, 4711)) : louder(modes_at(1, static_cast<int>(s), n, {0.9})));
    auto const before = state();
    for (std::size_t size = 0; size < good.size(); ++size) {
      message const cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK_THROWS_AS(check(mine, here, m, cut), payload_error);
    }
    auto longer = good;
    longer.resize(good.size() + 4);
    CHECK_THROWS_AS(check(mine, here, m, longer), payload_error);
    std::uint32_t word = 0;
    std::memcpy(&word, good.data(), 4);
    for (std::uint32_t bit = 0; bit < 32; ++bit)
      CHECK_THROWS_AS(check(mine, here, m, put(good, 0, word ^ (1u << bit))), error);
    if (s > 0) {
      for (std::uint32_t const odd : {0x7f800000u, 0xff800000u, 0x7fc00000u})
        CHECK_THROWS_AS(check(mine, here, m, put(good, 4, odd)), payload_error);
      CHECK_THROWS_AS(check(mine, here, m, put(good, 4, 0x7f7fffffu)), non_finite_error);  // times a history: infinite
    } else {
      CHECK_THROWS_AS(check(mine, here, m, message(4)), payload_error);  // silent, and nothing is known
    }
    if (s == 3) {
      CHECK(good.size() > silent);
      CHECK_THROWS_AS(check(mine, here, m, put(good, silent, 1u << 20)), payload_error);  // an index outside
    }
    CHECK(state() == before);
    floats g(n), h(n);
    in_bytes<host> const both[] = {seen(m), seen(good)};
    arrival<host> const arrived{both, arrival_form::each};
    check(mine, here, m, good), check(theirs, there, m, good);
    mine.commit(here.ctx, over(g), arrived), theirs.commit(there.ctx, over(h), arrived);
    CHECK(identical(g, h));
  }
}

TEST_CASE("method::predictive: the bytes of docs/wire.md") {
  using coder_type = tensor_coder<host, decltype(predictive(compress_with()))>;
  lone_rank here(0, 1);
  coder_type c(predictive(compress_with(), {.order = 2, .check_every = 3}), here.ctx, {2, 1});
  auto const words_of_step = [&](floats const& g) {
    std::vector<std::uint32_t> m(c.capacity(0, 1) / 4);
    auto const size = c.encode(here.ctx, over(g), as<std::byte>(view<host, std::uint32_t>(m.data(), m.size())));
    m.resize(size / 4);
    in_bytes<host> const mine(reinterpret_cast<std::byte const*>(m.data()), size);
    c.check(here.ctx, {{&mine, 1}, arrival_form::each});
    floats mean(2);
    c.commit(here.ctx, over(mean), {});
    CHECK(identical(mean, g));
    ++here.ctx.number;
    here.release();
    return m;
  };
  using words = std::vector<std::uint32_t>;
  CHECK(words_of_step({1, 0}) == words{0x001, bits_of(1), 0});   // a residual, no coefficient
  CHECK(words_of_step({0.5, 0}) == words{0x100, bits_of(0.5)});  // one coefficient
  auto const third = words_of_step({0, 2});                      // two, a checksum, a residual
  CHECK(third.size() == 1 + 2 + 2 + 2);
  CHECK((third[0] == 0x203 && third[5] == 0 && third[6] == bits_of(2)));
  std::uint64_t sum = 0;
  std::memcpy(&sum, &third[3], 8);
  digest expected;
  expected.add(std::uint64_t{2});
  for (floats const& past : {floats{0.5, 0}, floats{1, 0}})
    expected.add(gradpress::checksum(std::as_bytes(std::span(past))));
  CHECK(sum == expected.value());
}

TEST_CASE("method::predictive: descent with little noise arrives as without it, with a fraction of the sends") {
  constexpr int P = 4, steps = 300;
  constexpr std::size_t n = 100;
  /// Rank p's quadratic, and noise of a large batch.
  auto const descend = [&](auto const& method) {
    double distance = 0;
    std::uint64_t sends = 0;
    std::vector<std::uint64_t> sent(P);
    run_ranks(P, [&](thread_communicator& c) {
      auto const p = static_cast<std::uint64_t>(c.rank());
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, method);
      floats x(n, 3.f), optimum(n);
      for (std::uint64_t q = 0; q < P; ++q) optimum = plus(optimum, heavy_tailed(n, q + 1));
      auto const centre = heavy_tailed(n, p + 1);
      for (int s = 0; s < steps; ++s) {
        auto const noise = heavy_tailed(n, 1000 * p + static_cast<std::uint64_t>(s) + 10);
        floats g(n);
        for (std::size_t i = 0; i < n; ++i)
          g[i] = (0.2f + 0.8f * static_cast<float>(i) / n) * (x[i] - centre[i]) + 0.01f * noise[i];
        auto const before = r.stats().bytes_sent;
        r.average(w, std::span(g));
        sent[p] += r.stats().bytes_sent - before > 44 + 4 + 4;
        for (std::size_t i = 0; i < n; ++i) x[i] -= 0.1f * g[i];
      }
      if (p == 0)
        for (std::size_t i = 0; i < n; ++i) distance += std::pow(static_cast<double>(x[i] - optimum[i] / P), 2);
    });
    for (auto const v : sent) sends += v;
    return std::pair{std::sqrt(distance), sends};
  };
  auto const [exact, every] = descend(compress_with());
  auto const decay = std::pow(0.05 / 3, 1. / steps);  // from 3 to 0.05, above the noise of 0.04
  auto const [fallen, few] =
      descend(predictive(compress_with(), {.order = 1, .threshold = 3, .relative = false, .decay = decay}));
  auto const [fixed, some] = descend(predictive(compress_with(), {.order = 1, .threshold = 0.05}));
  MESSAGE("distance to the optimum, from 30: exact ", exact, "; falling threshold ", fallen, " with ", few, " of ",
          P * steps, " sends; relative threshold ", fixed, " with ", some);
  CHECK(every == P * steps);
  CHECK(exact < 0.03);
  CHECK(fallen < 0.06);
  CHECK(few < P * steps / 6);
  CHECK(fixed < 1);
  CHECK(some < P * steps / 4);
}
