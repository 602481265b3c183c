// SPDX-License-Identifier: Apache-2.0
#include <gradpress/method/predictive.hpp>

// Over a server: what gathering gives, and only the root knows the others' histories.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;

/// A slow decay, and now and then something new.
floats gradient(int rank, int step) {
  auto g = heavy_tailed(n, static_cast<std::uint64_t>(rank) + 1);
  auto const news = heavy_tailed(n, static_cast<std::uint64_t>(100 * rank + step + 50));
  for (std::size_t i = 0; i < n; ++i)
    g[i] = g[i] * std::pow(0.95f, static_cast<float>(step)) + ((step + rank) % 4 == 0 ? 0.6f : 0.01f) * news[i];
  return g;
}
struct record {
  std::vector<floats> updates;
  std::vector<std::uint64_t> bytes;
  std::map<std::string, floats> state;
};
template <class Method>
std::vector<record> run(int P, int steps, Method const& method) {
  std::vector<record> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& c) {
    auto& mine = all[static_cast<std::size_t>(c.rank())];
    reducer r{gradpress::serial{}, c, {.seed = 3}};
    auto const w = r.add("w", n, method);
    for (int s = 0; s < steps; ++s) {
      auto g = gradient(c.rank(), s);
      r.reset_statistics();
      r.average(w, std::span(g));
      mine.updates.push_back(g);
      mine.bytes.push_back(r.stats().bytes_sent);
    }
    r.visit(w, [&](char const* name, auto const& b) { mine.state[name] = copied(b); });
  });
  return all;
}
constexpr temporal_prediction how{.order = 2, .threshold = 0.4, .check_every = 3};

template <class F>
void for_each_code(F const& with) {
  with(compress_with());
  with(compress_with(top_k{.density = 0.1}));
  with(compress_with(threshold{.tau = 0.3}));
  with(compress_with(random_k{.density = 0.2}));
  with(compress_with(stochastic_int{.bits = 8, .block = 64}));
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
}  // namespace

TEST_CASE("method::predictive over a server has the bits of a gather, and each rank knows its own history alone") {
  for_each_code([](auto const& code) {
    for (int P = 1; P <= 5; ++P) {
      CAPTURE(P);
      int const root = P / 2;
      auto const gathered = run(P, 20, predictive(code, how));
      auto const served = run(P, 20, predictive(code, how, parameter_server{.root = root}));
      for (int p = 0; p < P; ++p) {
        auto const& got = served[static_cast<std::size_t>(p)];
        for (std::size_t s = 0; s < 20; ++s) CHECK(identical(got.updates[s], gathered[0].updates[s]));
        CHECK(got.state.size() == (p == root ? 2u * static_cast<unsigned>(P) : 2u));
        for (auto const& [name, values] : got.state) CHECK(identical(values, gathered[0].state.at(name)));
        CHECK(got.state.contains("rank" + std::to_string(p) + ".lag1"));
      }
    }
  });
}

TEST_CASE("method::predictive over a server: a silent rank sends its coefficients to the root, and nothing else") {
  auto const got =
      run(3, 6,
          predictive(compress_with(), {.order = 2, .threshold = 1e9, .relative = false}, parameter_server{.root = 1}));
  for (std::size_t const p : {0u, 2u}) {
    CHECK(got[p].bytes[0] == 16 + 32 + 4 + 4 + 4 * n);  // size, header, table; word, residual
    CHECK(got[p].bytes[1] == 16 + 32 + 4 + 4 + 4);
    for (std::size_t s = 2; s < 6; ++s) CHECK(got[p].bytes[s] == 16 + 32 + 4 + 4 + 8);
  }
}

TEST_CASE("method::predictive over a server obeys the laws of compositions, saves, loads and rolls back") {
  for_each_code([](auto const& code) {
    auto const exact = predictive(code, how, parameter_server{});
    auto const rounded = predictive(code, how, parameter_server{.down = bf16{}});
    auto const remembered =
        predictive(code, how, parameter_server{.down = bf16{}, .memory = error_feedback{}, .root = 2});
    for (int const P : {1, 2, 3, 5}) {
      check_composition(described(exact), P);
      check_composition(described(rounded), P);
      if (P > 2) check_composition(described(remembered), P);
    }
    check_resumes(exact);
    check_resumes(rounded);
    check_resumes(remembered);
  });
}

TEST_CASE("method::predictive over a server: the root says whose history it holds wrongly, and all can start over") {
  run_ranks(3, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, predictive(compress_with(top_k{}), how, parameter_server{}));
    auto const step = [&](int s) {
      auto g = gradient(c.rank(), s);
      r.average(w, std::span(g));
    };
    auto const must = [&](bool good, std::string const& what) {
      if (!good) throw std::logic_error(what);
    };
    step(0), step(1);
    r.visit(w, [&](char const* name, auto const& b) {
      if (c.rank() == 0 && std::string(name) == "rank2.lag2") b(0) += 1;
    });
    std::string text;
    try {
      step(2);
    } catch (error const& e) {
      text = e.what();
    }
    must(text.find("the past gradients of rank 2 are others here than at that rank") != std::string::npos, text);
    must(r.step_number() == 2, "a refused step counts");
    r.set(w, "resync", 1);
    step(2), step(3);
    try {
      r.set(w, "root", 1);
      must(false, "another root while the tensor lives");
    } catch (configuration_error const& e) {
      must(std::string(e.what()).find("cannot change while the tensor lives") != std::string::npos, e.what());
    }
    must(r.method(w).find(" over parameter_server(") != std::string::npos, r.method(w));
    step(4);
  });
}

TEST_CASE("method::predictive over a server: a root that there is not") {
  auto const method = predictive(compress_with(top_k{}), {}, parameter_server{.root = 3});
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    try {
      r.add("w", n, method);
    } catch (configuration_error const&) {
      return;
    }
    throw std::logic_error("a root beyond the world");
  });
  CHECK_THROWS_AS(check_knobs(predictive(compress_with(top_k{}), {}, parameter_server{.root = -1})),
                  configuration_error);
}
