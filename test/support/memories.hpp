// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of memories share: a few ranks that train, and whether they go on as if never stopped.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include "lone_rank.hpp"

#include <map>
#include <sstream>
#include <string>

namespace gradpress::test {

/// What one rank saw: its updates and its state after the last step.
struct recollection {
  std::vector<floats> updates;
  std::map<std::string, floats> state;
};
inline bool identical(std::vector<recollection> const& a, std::vector<recollection> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto const& x, auto const& y) {
    return std::equal(x.updates.begin(), x.updates.end(), y.updates.begin(), y.updates.end(),
                      [](auto const& u, auto const& v) { return identical(u, v); }) &&
           std::equal(x.state.begin(), x.state.end(), y.state.begin(), y.state.end(),
                      [](auto const& u, auto const& v) { return u.first == v.first && identical(u.second, v.second); });
  });
}

/// Rank p's gradient of step s.
inline floats gradient_at(int p, int s, std::size_t n) {
  return heavy_tailed(n, static_cast<std::uint64_t>(1000 * p + s + 1));
}

template <class Reducer>
void train(Reducer& r, typename Reducer::tensor w, int rank, std::size_t n, int from, int to, recollection& of) {
  for (int s = from; s < to; ++s) {
    auto g = gradient_at(rank, s, n);
    r.average(w, std::span(g));
    of.updates.push_back(g);
  }
  of.state.clear();
  r.visit(w, [&](char const* name, auto const& b) { of.state[name] = floats(b.data(), b.data() + b.extent(0)); });
}

/// `steps` steps of P ranks.
template <class Method>
std::vector<recollection> remember(int P, std::size_t n, int steps, Method const& method) {
  std::vector<recollection> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    r.learning_rate(0.1);
    auto const w = r.add("w", n, 1, method);
    train(r, w, c.rank(), n, 0, steps, all[static_cast<std::size_t>(c.rank())]);
  });
  return all;
}

/// Save and load, and a step taken back, change no bit of what follows; nor does a step that one rank's NaN spoils.
template <class Method>
void check_resumes(Method const& method) {
  constexpr int P = 3, before = 5, steps = 10;
  constexpr std::size_t n = 300;
  auto const through = remember(P, n, steps, method);
  std::vector<std::string> complaints(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const at = static_cast<std::size_t>(c.rank());
    auto const compare = [&](recollection const& got, char const* what) {
      for (int s = before; s < steps; ++s)
        if (!identical(got.updates[static_cast<std::size_t>(s - before)],
                       through[at].updates[static_cast<std::size_t>(s)]))
          complaints[at] += std::string(what) + ": another update; ";
      for (auto const& [name, values] : through[at].state)
        if (!identical(got.state.at(name), values)) complaints[at] += std::string(what) + ": another " + name + "; ";
    };
    recollection ignored, loaded, back;
    reducer a{gradpress::serial{}, c};
    a.learning_rate(0.1);
    auto const w = a.add("w", n, 1, method);
    train(a, w, c.rank(), n, 0, before, ignored);
    std::stringstream file;
    a.save(file);
    auto const kept = ignored.state;
    train(a, w, c.rank(), n, 77, 78, ignored);
    a.rollback();
    train(a, w, c.rank(), n, 0, 0, ignored);
    if (ignored.state != kept) complaints[at] += "rollback: another state; ";
    auto g = gradient_at(c.rank(), 5, n);
    if (c.rank() == 1) g[17] = not_finite[0];
    try {
      a.average(w, std::span(g));
      complaints[at] += "a NaN was not reported; ";
    } catch (non_finite_error const&) {
    }
    train(a, w, c.rank(), n, 0, 0, ignored);
    if (ignored.state != kept) complaints[at] += "NaN: another state; ";
    train(a, w, c.rank(), n, before, steps, back);
    compare(back, "after a rollback");
    reducer b{gradpress::serial{}, c};
    b.learning_rate(0.1);
    auto const v = b.add("w", n, 1, method);
    b.load(file);
    train(b, v, c.rank(), n, before, steps, loaded);
    compare(loaded, "after a load");
  });
  for (auto const& complaint : complaints) CHECK(complaint == "");
}

}  // namespace gradpress::test
