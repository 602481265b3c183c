// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/top_k.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <sstream>
#include <string>

using namespace gradpress;

namespace {
using host_reducer = reducer<gradpress::serial>;
using floats = std::vector<float>;
std::vector<host_reducer::part_of_group> const parts = {{"c", 7}, {"a", 5, 8}, {"b", 13}};
constexpr std::size_t total = 7 + 40 + 13;

floats gradient(int rank, int step) {
  floats g(total);
  for (std::size_t i = 0; i < total; ++i)
    g[i] = key{static_cast<std::uint64_t>(rank)}.with(static_cast<std::uint64_t>(step)).uniform(i) - 0.5f;
  return g;
}
auto method() { return compress_with(top_k{.density = 0.1}, error_feedback{}); }

/// The three parts as arrays of their own, or end to end.
struct scattered {
  floats c, a, b;
  explicit scattered(floats const& g)
      : c(g.begin(), g.begin() + 7), a(g.begin() + 7, g.begin() + 47), b(g.begin() + 47, g.end()) {}
  floats whole() const {
    floats g = c;
    g.insert(g.end(), a.begin(), a.end());
    g.insert(g.end(), b.begin(), b.end());
    return g;
  }
};
void require(bool good, char const* what) {
  if (!good) throw std::runtime_error(what);
}
template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (std::exception const& e) {
    return e.what();
  }
  return "";
}
}  // namespace

TEST_CASE("reducer: a group is one vector to its method, wherever its tensors lie") {
  run_ranks(3, [](thread_communicator& comm) {
    host_reducer one{gradpress::serial{}, comm}, apart{gradpress::serial{}, comm}, together{gradpress::serial{}, comm};
    auto const x = one.add("model", total, 1, method());
    auto const h = apart.add_group("model", parts, method());
    auto const k = together.add_group("model", parts, method());
    for (int step = 0; step < 5; ++step) {
      auto plain = gradient(comm.rank(), step), flat = plain;
      scattered s(plain);
      one.average(x, std::span(plain));
      apart.stage(h[2], std::span(s.b));
      apart.stage(h[0], std::span(s.c));
      apart.stage(h[1], std::span(s.a));
      apart.average();
      together.stage(k[0], std::span(flat).first(7));
      together.stage(k[1], std::span(flat).subspan(7, 40));
      together.stage(k[2], std::span(flat).subspan(47));
      together.average();
      require(s.whole() == plain, "apart differs");
      require(flat == plain, "together differs");
    }
    require(apart.stats().messages == 5 && apart.stats().dense_bytes == 5 * 4 * total, "not one message a step");
  });
}

TEST_CASE("reducer: tensors of a group keep their own names in checkpoints, and may be grouped in another way later") {
  self_communicator alone;
  host_reducer grouped{gradpress::serial{}, alone}, single{gradpress::serial{}, alone};
  auto const h = grouped.add_group("model", parts, method());
  scattered s(gradient(0, 0));
  grouped.stage(h[0], std::span(s.c));
  grouped.stage(h[1], std::span(s.a));
  grouped.stage(h[2], std::span(s.b));
  grouped.average();
  std::stringstream file;
  grouped.save(file);

  std::vector<host_reducer::tensor> t = {single.add("a", 5, 8, method()), single.add("b", 13, 1, method()),
                                         single.add("c", 7, 1, method())};
  single.load(file);
  std::size_t const of_group[] = {1, 2, 0};
  for (std::size_t i = 0; i < 3; ++i) {
    floats mine, theirs;
    auto const into = [](floats& to) {
      return
          [&to](char const*, Kokkos::View<float*, Kokkos::HostSpace> b) { to.assign(b.data(), b.data() + b.size()); };
    };
    single.visit(t[i], into(mine));
    grouped.visit(h[of_group[i]], into(theirs));
    CHECK(mine == theirs);
    CHECK(mine.size() == (i == 0 ? 40 : i == 1 ? 13 : 7));
    CHECK(std::any_of(mine.begin(), mine.end(), [](float v) { return v != 0; }));
  }
}

TEST_CASE("reducer: mistakes with groups are errors on all ranks, by the tensor's name") {
  std::vector<std::string> said(2), not_finite(2), other_order(2);
  run_ranks(2, [&](thread_communicator& comm) {
    auto const r = static_cast<std::size_t>(comm.rank());
    host_reducer reducer{gradpress::serial{}, comm};
    auto const h = reducer.add_group("model", parts, method());
    scattered s(gradient(comm.rank(), 0)), before = s;
    reducer.stage(h[0], std::span(s.c));
    reducer.stage(h[1], std::span(s.a));
    said[r] = message_of([&] { reducer.average(); });
    auto const stage_all = [&](host_reducer& to, auto const& handles) {
      to.stage(handles[0], std::span(s.c));
      to.stage(handles[1], std::span(s.a));
      to.stage(handles[2], std::span(s.b));
    };
    if (r == 1) s.a[3] = std::numeric_limits<float>::infinity();
    stage_all(reducer, h);
    not_finite[r] = message_of([&] { reducer.average(); });
    s = before;

    host_reducer second{gradpress::serial{}, comm};
    auto order = parts;
    if (r == 1) std::swap(order[0], order[2]);
    auto g = second.add_group("model", order, method());
    if (r == 1) std::swap(g[0], g[2]);
    stage_all(second, g);
    other_order[r] = message_of([&] { second.average(); });
    require(s.whole() == before.whole(), "a gradient changed");

    stage_all(reducer, h);
    reducer.average();  // none of it stays
  });
  CHECK(said[0] == said[1]);
  CHECK(said[0].find("tensor 'b': was not staged, but others of its group 'model' were") != std::string::npos);
  CHECK(not_finite[0] == not_finite[1]);
  CHECK(not_finite[0].find("rank 1: tensor 'a'") != std::string::npos);
  CHECK(other_order[0] == other_order[1]);
  CHECK(other_order[0].find("methods of rank 1") != std::string::npos);
  CHECK(other_order[0].find("in 'model' at 7") != std::string::npos);

  self_communicator alone;
  host_reducer reducer{gradpress::serial{}, alone};
  reducer.add("w", 4);
  CHECK(message_of([&] {
          reducer.add_group("w", {{"x", 4}}, method());
        }).find("'w' was added before") != std::string::npos);
  CHECK(message_of([&] {
          reducer.add_group("g", {{"w", 4}}, method());
        }).find("'w' was added before") != std::string::npos);
  CHECK(message_of([&] {
          reducer.add_group("g", {{"x", 4}, {"x", 4}}, method());
        }).find("'x' twice") != std::string::npos);
}

TEST_CASE("reducer: selection over a group loses no more than selection tensor by tensor, for as many entries") {
  self_communicator alone;
  for (int seed = 0; seed < 50; ++seed) {
    host_reducer whole{gradpress::serial{}, alone}, layers{gradpress::serial{}, alone};
    std::vector<host_reducer::part_of_group> const two = {{"loud", 100}, {"quiet", 200}};
    auto const w = whole.add_group("model", two, compress_with(top_k{.density = 0.1}));
    auto const l = std::vector{layers.add("loud", 100, 1, compress_with(top_k{.density = 0.1})),
                               layers.add("quiet", 200, 1, compress_with(top_k{.density = 0.1}))};
    std::vector<floats> g = {floats(100), floats(200)};
    for (std::size_t t = 0; t < 2; ++t)
      for (std::size_t i = 0; i < g[t].size(); ++i)
        g[t][i] = (key{static_cast<std::uint64_t>(seed)}.with(t).uniform(i) - 0.5f) * (t == 0 ? 10.f : 1.f);
    auto by_group = g, by_layer = g;
    for (std::size_t t = 0; t < 2; ++t) {
      whole.stage(w[t], std::span(by_group[t]));
      layers.stage(l[t], std::span(by_layer[t]));
    }
    whole.average();
    layers.average();
    double lost[2] = {};
    std::size_t kept[2] = {};
    for (std::size_t t = 0; t < 2; ++t)
      for (std::size_t i = 0; i < g[t].size(); ++i)
        for (int which : {0, 1}) {
          auto const u = (which == 0 ? by_group : by_layer)[t][i];
          lost[which] += static_cast<double>(g[t][i] - u) * static_cast<double>(g[t][i] - u);
          kept[which] += u != 0;
        }
    CHECK(kept[0] == 30);
    CHECK(kept[1] == 30);
    CHECK(lost[0] <= lost[1]);
  }
}
