// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/error_feedback.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
struct keeps_too_little {
  static constexpr std::string_view name = "keeps_too_little";
  static constexpr memory_law law = memory_law::additive;
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State&, view<Exec>) const {
    return g;
  }
  template <class Exec, class State>
  void keep(step<Exec> const&, in<Exec>, State&) const {}
};
}  // namespace
static_assert(feedback<error_feedback>);
static_assert(remembers<error_feedback>);
static_assert(!feedback<keeps_too_little>);

TEST_CASE("feedback::error_feedback obeys the laws of feedbacks") { check_feedback(error_feedback{}); }

TEST_CASE(
    "feedback::error_feedback: the virtual iterate, what was applied plus the mean residual, is that of plain "
    "averaging") {
  constexpr int P = 4, steps = 30;
  constexpr std::size_t n = 200;
  auto const gradient = [](int rank, int s) {
    return heavy_tailed(n, static_cast<std::uint64_t>(1000 * rank + s + 1));
  };
  auto const check = [&](auto const& method) {
    std::vector<std::vector<double>> residuals(P, std::vector<double>(n));
    std::vector<double> applied(n), plain(n);
    for (int s = 0; s < steps; ++s)
      for (int p = 0; p < P; ++p) {
        auto const g = gradient(p, s);
        for (std::size_t i = 0; i < n; ++i) plain[i] += static_cast<double>(g[i]) / P;
      }
    run_ranks(P, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, 1, method);
      for (int s = 0; s < steps; ++s) {
        auto g = gradient(c.rank(), s);
        r.average(w, std::span(g));
        if (c.rank() == 0)
          for (std::size_t i = 0; i < n; ++i) applied[i] += static_cast<double>(g[i]);
      }
      r.visit(w, [&](char const*, auto const& b) {
        for (std::size_t i = 0; i < n; ++i)
          residuals[static_cast<std::size_t>(c.rank())][i] = static_cast<double>(b(i));
      });
    });
    double worst = 0, behind = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double kept = 0;
      for (auto const& e : residuals) kept += e[i] / P;
      worst = std::max(worst, std::abs(applied[i] + kept - plain[i]));
      behind = std::max(behind, std::abs(kept));
    }
    CHECK(worst < 2e-5);
    CHECK(behind > 1e-3);  // there was something to remember
  };
  SUBCASE("top_k") { check(compress_with(top_k{.density = 0.05}, error_feedback{})); }
  SUBCASE("random_k") { check(compress_with(random_k{.density = 0.05}, error_feedback{})); }
  SUBCASE("sign") { check(compress_with(sign{.block = 64}, error_feedback{})); }
  SUBCASE("stochastic_int on top_k") {
    check(compress_with(top_k{.density = 0.2}, stochastic_int{.bits = 4, .block = 64}, error_feedback{}));
  }
}

TEST_CASE("feedback::error_feedback remembers zero for ever where everything is delivered") {
  thread_group group(1);
  thread_communicator alone(group, 0);
  reducer r{host{}, alone};
  auto const w = r.add("w", 50, 1, compress_with(top_k{.density = 1}, error_feedback{}));
  for (std::uint64_t s = 0; s < 3; ++s) {
    auto g = heavy_tailed(50, s);
    auto const before = g;
    r.average(w, std::span(g));
    CHECK(g == before);
    r.visit(w, [](char const* name, buffer<host> b) {
      CHECK(std::string(name) == "residual");
      CHECK(copied(b) == floats(50));
    });
  }
  CHECK(describe(error_feedback{}) == "error_feedback");
}
