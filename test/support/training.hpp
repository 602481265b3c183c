// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of optimizers share: ranks that train on quadratics of their own, by the loop of any driver, and
/// whether they go on as if never stopped.

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/optimizer/driver.hpp>
#include <gradpress/select/top_k.hpp>

#include "lone_rank.hpp"

#include <sstream>
#include <string>

namespace gradpress::test {

/// Rank p's gradient at w for a sample: curvature times the way to a centre of the rank's own, and noise.
inline void differentiate(int p, std::uint64_t sample, floats const& w, floats& g, float noise = 0.3f) {
  auto const rank = static_cast<std::uint64_t>(p);
  key const centre = key{5}.with(rank), at = key{6}.with(rank).with(sample);
  for (std::size_t i = 0; i < w.size(); ++i) {
    auto const curvature = 0.2f + static_cast<float>(i % 7) / 7;
    g[i] = curvature * (w[i] - centre.uniform(i)) + noise * (at.uniform(i) - 0.5f);
  }
}
/// What all ranks start from.
inline floats start_of(std::size_t n) { return heavy_tailed(n, 77); }

/// What one rank saw.
struct path {
  std::vector<floats> points;  ///< parameters after each step
  std::vector<floats> models;  ///< of the same times, if asked for
  std::vector<floats> residuals;
  floats last;
  std::uint64_t bytes = 0;
};

/// One driver over two parameters, the second uncompressed, and the loop of a training program.
template <class Driver>
struct program {
  Driver driver;
  floats w, b, gw, gb;
  typename Driver::parameter hw, hb;
  int rank;
  float noise = 0.3f;

  program(Driver d, int p, std::size_t n)
      : driver(std::move(d)), w(start_of(n)), b(start_of(5)), gw(n), gb(5), rank(p) {
    hw = driver.add("w", {n}, std::span(w));
    hb = driver.add("b", {5}, std::span(b), uncompressed);
  }
  void step(bool spoilt = false) {
    bool done = false;
    while (!done) {
      auto const ask = driver.next();
      differentiate(rank, ask.sample, w, gw, noise);
      differentiate(rank, ask.sample, b, gb, noise);
      if (spoilt) gw[gw.size() / 2] = not_finite[0];
      driver.stage(hw, std::span(gw));
      driver.stage(hb, std::span(gb));
      done = driver.take();
    }
  }
};
template <class Driver>
program(Driver, int, std::size_t) -> program<Driver>;

/// `steps` steps of P ranks; with `evaluate`, models after each.
template <class Method, class... C>
std::vector<path> train(int P, std::size_t n, int steps, bool evaluate, float noise, Method const& method,
                        C const&... c) {
  std::vector<path> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& comm) {
    auto& mine = all[static_cast<std::size_t>(comm.rank())];
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    program p(train_with(r, method, c...), comm.rank(), n);
    p.noise = noise;
    for (int s = 0; s < steps; ++s) {
      p.step();
      mine.points.push_back(p.w);
      auto const e = r.residual(r.find("w"));
      mine.residuals.push_back(e.extent(0) == 0 ? floats(n) : copied(in<gradpress::serial>(e.data(), n)));
      if (evaluate) {
        p.driver.model();
        mine.models.push_back(p.w);
      }
    }
    p.driver.model();
    mine.last = p.w;
    mine.bytes = r.stats().bytes_sent;
  });
  return all;
}

/// The largest |a - b|.
inline double apart(floats const& a, floats const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}
inline bool equal_replicas(std::vector<path> const& all) {
  return std::all_of(all.begin(), all.end(), [&](auto const& p) { return identical(p.last, all[0].last); });
}

/// Undo, a NaN of one rank, looks at the model, and save and load change no bit of what follows.
template <class Method, class... C>
void check_training_resumes(Method const& method, C const&... c) {
  constexpr int P = 3, before = 7, steps = 13;
  constexpr std::size_t n = 300;
  std::vector<floats> through(P);
  std::vector<std::string> complaints(P);
  auto const collect = [](auto& p) {
    auto all = p.w;
    all.insert(all.end(), p.b.begin(), p.b.end());
    p.driver.model();
    all.insert(all.end(), p.w.begin(), p.w.end());
    all.insert(all.end(), p.b.begin(), p.b.end());
    return all;
  };
  run_ranks(P, [&](thread_communicator& comm) {
    auto const at = static_cast<std::size_t>(comm.rank());
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    program p(train_with(r, method, c...), comm.rank(), n);
    for (int s = 0; s < steps; ++s) p.step();
    through[at] = collect(p);
  });
  run_ranks(P, [&](thread_communicator& comm) {
    auto const at = static_cast<std::size_t>(comm.rank());
    auto const complain = [&](bool wrong, char const* what) { complaints[at] += wrong ? what : ""; };
    reducer r{gradpress::serial{}, comm, {.seed = 3}};
    program p(train_with(r, method, c...), comm.rank(), n);
    std::stringstream file;
    for (int s = 0; s < steps; ++s) {
      auto const old = p.w, old_b = p.b;
      if (s % 3 == 0) {
        p.step();
        p.driver.undo();  // to the point after what was due before the step
        if (s % 6 != 0) complain(!identical(p.w, old) || !identical(p.b, old_b), "undo: other parameters; ");
      }
      if (s % 4 == 1) {
        try {
          p.step(comm.rank() == 1);
          complain(true, "a NaN was not reported; ");
        } catch (non_finite_error const&) {
        }
      }
      if (s == before) p.driver.save(file);
      if (s % 2 == 0) p.driver.model();
      p.step();
    }
    complain(p.driver.step() != steps, "other number of steps; ");
    complain(!identical(collect(p), through[at]), "after detours: other numbers; ");
    reducer again{gradpress::serial{}, comm, {.seed = 3}};
    program q(train_with(again, method, c...), comm.rank(), n);
    std::fill(q.w.begin(), q.w.end(), static_cast<float>(comm.rank()));  // load brings them
    q.driver.load(file);
    complain(q.driver.step() != before, "load: other number of steps; ");
    for (int s = before; s < steps; ++s) q.step();
    complain(!identical(collect(q), through[at]), "after a load: other numbers; ");
  });
  for (auto const& complaint : complaints) CHECK(complaint == "");
}

}  // namespace gradpress::test
