// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/ef21.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<ef21>);
static_assert(remembers<ef21>);
static_assert(!feedback<ef21 const>);
static_assert(ef21::law == memory_law::mirrored);

namespace {
struct trial {
  std::vector<floats> mine, mirrors, updates;  // a rank, after the last step
};
/// `steps` steps of P ranks with constant gradients.
template <class Method>
trial run(int P, std::size_t n, int steps, Method const& method) {
  auto const ranks = static_cast<std::size_t>(P);
  trial t{std::vector<floats>(ranks), std::vector<floats>(ranks), std::vector<floats>(ranks)};
  run_ranks(P, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const at = static_cast<std::size_t>(c.rank());
    auto const w = r.add("w", n, 1, method);
    for (int s = 0; s < steps; ++s) {
      auto g = heavy_tailed(n, at + 1);
      r.average(w, std::span(g));
      t.updates[at] = g;
    }
    r.visit(w, [&](char const* name, auto const& b) {
      (std::string(name) == "mine" ? t.mine : t.mirrors)[at] = copied(b);
    });
  });
  return t;
}
floats mean_of(std::vector<floats> const& all) {
  floats mean(all[0].size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (auto const& x : all) sum += static_cast<double>(x[i]);
    mean[i] = static_cast<float>(sum / static_cast<double>(all.size()));
  }
  return mean;
}
double worst_difference(floats const& a, floats const& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}
}  // namespace

TEST_CASE("feedback::ef21 obeys the laws of feedbacks") { check_feedback(ef21{}); }

TEST_CASE("feedback::ef21: the mirror is the mean of what the ranks keep, equal on all of them, and is the update") {
  for (int const steps : {1, 5, 40}) {
    auto const t = run(4, 300, steps, compress_with(random_k{.density = 0.1}, ef21{}));
    for (auto const& m : t.mirrors) CHECK(identical(m, t.mirrors[0]));
    for (auto const& u : t.updates) CHECK(identical(u, t.mirrors[0]));
    CHECK(worst_difference(t.mirrors[0], mean_of(t.mine)) < 1e-6);
  }
}

TEST_CASE("feedback::ef21 reaches the exact mean under constant gradients, where top_k without a memory never does") {
  constexpr std::size_t n = 100;
  std::vector<floats> gradients;
  for (std::uint64_t p = 0; p < 4; ++p) gradients.push_back(heavy_tailed(n, p + 1));
  auto const exact = mean_of(gradients);
  // Density 0.1: after 10 steps every entry was the largest difference once.
  auto const done = run(4, n, 10, compress_with(top_k{.density = 0.1}, ef21{}));
  CHECK(worst_difference(done.updates[0], exact) < 1e-6);
  for (std::size_t p = 0; p < 4; ++p) CHECK(worst_difference(done.mine[p], gradients[p]) < 1e-6);
  auto const early = run(4, n, 5, compress_with(top_k{.density = 0.1}, ef21{}));
  CHECK(worst_difference(early.updates[0], exact) > 1e-4);
  auto const forgetful = run(4, n, 10, compress_with(top_k{.density = 0.1}));
  CHECK(worst_difference(forgetful.updates[0], exact) > 0.01);
}

TEST_CASE("feedback::ef21 sends the compressed gradient alone in its first step") {
  auto const first = run(1, 50, 1, compress_with(top_k{.density = 0.2}, ef21{}));
  auto const plain = run(1, 50, 1, compress_with(top_k{.density = 0.2}));
  CHECK(first.updates[0] == plain.updates[0]);
  CHECK(describe(ef21{}) == "ef21");
}
