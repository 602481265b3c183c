// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/error_feedback.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"
#include "../support/step_by_step.hpp"

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

TEST_CASE("feedback::error_feedback obeys the laws of feedbacks") {
  check_feedback(error_feedback{});
  check_feedback(error_feedback{.decay = 0.75}, {.kept = 0.75f});
  check_feedback(error_feedback{.units = residual_units::model});
}

TEST_CASE("feedback::error_feedback obeys the laws of compositions") {
  check_memory(error_feedback{});
  check_memory(error_feedback{.decay = 0.75, .units = residual_units::model});
}

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

TEST_CASE("feedback::error_feedback: saves, loads, rolls back and refuses as every memory does") {
  error_feedback const both{.decay = 0.9, .units = residual_units::model};
  check_resumes(compress_with(top_k{.density = 0.1}, error_feedback{.decay = 0.9}));
  check_resumes(compress_with(top_k{.density = 0.1}, both));
  CHECK(describe(both) == "error_feedback(decay=0.9,units=model)");
  for (double const bad : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(check_knobs(compress_with(error_feedback{.decay = bad})), configuration_error);
}

// ---- in one pass with the quantizer ----------------------------------------------------------------------------------

namespace {
template <class Q>
void check_fused(Q const& q) {
  static_assert(codes_sums<Q> && !codes_sums<step_by_step<Q>>);
  INFO("quantizer ", describe(q));
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u, 100003u}) {
    CAPTURE(n);
    int const P = n < 1000 ? 3 : 2;
    auto const fused = remember(P, n, 3, compress_with(q, error_feedback{}));
    CHECK(identical(fused, remember(P, n, 3, compress_with(step_by_step<Q>{q}, error_feedback{}))));
    for (auto const& rank : fused) CHECK(rank.state.at("residual").size() == n);
  }
  check_resumes(compress_with(q, error_feedback{}));
}
}  // namespace

TEST_CASE("feedback::error_feedback: quantizers that form the sum themselves change no bit") {
  SUBCASE("log") { check_fused(log_quantizer{}); }
  SUBCASE("log of 4 bits") { check_fused(log_quantizer{.bits = 4}); }
  SUBCASE("none") { check_fused(unquantized{}); }
  SUBCASE("one_magnitude") { check_fused(one_magnitude{}); }
  SUBCASE("sign") { check_fused(sign{}); }
  SUBCASE("sign_bits") { check_fused(sign_bits{}); }
  SUBCASE("stochastic_int") { check_fused(stochastic_int{.bits = 4}); }
  SUBCASE("ternary") { check_fused(ternary{}); }
  SUBCASE("ternary8") { check_fused(ternary8{}); }
  SUBCASE("bf16") { check_fused(bf16{}); }
}

// ---- units of the model ----------------------------------------------------------------------------------------------

namespace {
/// A contraction that delivers half of everything.
struct half_of : unquantized {
  static constexpr std::string_view name = "half_of";
  template <class Exec>
  void encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    kernel::scale_copy(ctx.exec, x.data(), x.extent(0), 0.5f, as<float>(codes).data());
  }
  bool encode_sum(auto&&...) const = delete;  // which would deliver all
};
auto const in_model_units = error_feedback{.units = residual_units::model};

/// One rank and one weight, gradient 1 in each step, rate a^t: what is left, and where the model is.
struct descent {
  double residual = 0, moved = 0, rate = 1;
  descent(error_feedback const& f, double a, int steps) {
    self_communicator alone;
    reducer r{gradpress::serial{}, alone};
    auto const w = r.add("w", 1, 1, compress_with(half_of{}, f));
    for (int t = 0; t < steps; ++t) {
      rate = std::pow(a, t);
      floats g{1};
      r.learning_rate(rate);
      r.average(w, std::span(g));
      moved += rate * static_cast<double>(g[0]);
    }
    r.visit(w, [&](char const* name, auto const& b) {
      if (std::string(name) == "residual") residual = static_cast<double>(b(0));
    });
  }
};
}  // namespace

TEST_CASE(
    "feedback::error_feedback: in units of the model no step is lost when the rate falls; in the gradient's it is") {
  auto const wanted = (1 - std::pow(0.4, 60)) / (1 - 0.4);  // the sum of all rates times the gradient
  descent const follows(in_model_units, 0.4, 60), stays(error_feedback{}, 0.4, 60);
  // e' = (1 + e / 0.4) / 2, from 0: the residual grows beside the gradient, and is nothing to the model.
  CHECK(follows.residual == doctest::Approx(2 * (std::pow(1.25, 60) - 1)).epsilon(1e-4));
  CHECK(follows.residual > 1.2e6);
  CHECK(follows.residual * follows.rate < 5e-18);
  CHECK(follows.moved == doctest::Approx(wanted).epsilon(1e-6));
  CHECK(stays.residual == doctest::Approx(1));
  CHECK(stays.moved == doctest::Approx(1 / 0.6 - 0.5 / 0.8));
  descent const slow(in_model_units, 0.6, 60);
  CHECK(slow.residual == doctest::Approx(3).epsilon(1e-3));
}

TEST_CASE("feedback::error_feedback: a rate that changes before, after and beside rollbacks and checkpoints") {
  auto const check = [](auto const& method) {
    run_ranks(2, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c}, twin{gradpress::serial{}, c};
      r.add("w", 50, 1, method), twin.add("w", 50, 1, method);
      auto const residual = [&](auto& of) {
        floats all;
        of.visit(of.find("w"), [&](char const* name, auto const& b) {
          if (std::string(name) == "residual") all = copied(b);
        });
        return all;
      };
      recollection ignored;
      auto const step = [&](auto& of, int s) { train(of, of.find("w"), c.rank(), 50, s, s + 1, ignored); };
      auto const want = [](bool good, char const* what) {
        if (!good) throw std::runtime_error(what);
      };
      for (auto* of : {&r, &twin}) of->learning_rate(0.5), step(*of, 0);
      auto const before = residual(r);
      step(r, 1);
      r.learning_rate(0.125);  // after the step that is taken back, looked at or not
      if (c.rank() == 0) static_cast<void>(residual(r));
      r.rollback();
      auto const after = residual(r);
      for (std::size_t i = 0; i < 50; ++i) want(after[i] == 4 * before[i], "rescaled by 4");
      twin.learning_rate(0.25);  // on the way, with nobody looking
      twin.learning_rate(0.125);
      want(identical(residual(twin), after), "by way of another rate");
      step(r, 2);
      r.learning_rate(0.5);
      r.rollback();
      want(identical(residual(r), before), "and back");
      r.learning_rate(0.125);
      std::stringstream file;
      r.save(file);
      reducer loaded{gradpress::serial{}, c};
      loaded.add("w", 50, 1, method);
      loaded.learning_rate(0.25);  // the program goes on with another
      loaded.load(file);
      for (std::size_t i = 0; i < 50; ++i) want(residual(loaded)[i] == 2 * before[i], "from the rate of the file");
      file.clear();
      file.seekg(0);
      reducer silent{gradpress::serial{}, c};
      static_cast<void>(silent.add("w", 50, 1, method));
      silent.load(file);
      want(identical(residual(silent), after), "as in the file");
      want(silent.method(silent.find("w")).find("at the learning rate 0.125") != std::string::npos,
           "the rate of the file");
      step(silent, 3), step(twin, 3);
      want(identical(residual(silent), residual(twin)), "going on");
    });
  };
  check(compress_with(top_k{.density = 0.1}, in_model_units));
  check(compress_with(sign{.block = 32}, in_model_units));
}

TEST_CASE("feedback::error_feedback: a constant rate changes no bit, and the rate of others does not matter") {
  error_feedback const units[] = {error_feedback{}, in_model_units};
  std::vector<recollection> seen[2];
  for (std::size_t u = 0; u < 2; ++u) seen[u] = remember(3, 200, 8, compress_with(top_k{.density = 0.1}, units[u]));
  for (std::size_t p = 0; p < 3; ++p) {
    seen[1][p].state.erase("learning_rate");
    CHECK(seen[0][p].state == seen[1][p].state);
    CHECK(seen[0][p].updates == seen[1][p].updates);
  }
}

TEST_CASE("feedback::error_feedback in units of the model: what is said about learning rates") {
  auto const complaint = [](auto const& f) -> std::string {
    try {
      f();
    } catch (configuration_error const& e) {
      return e.what();
    }
    return "none";
  };
  std::vector<std::string> texts(2), differ(2);
  run_ranks(2, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 50, 1, compress_with(top_k{}, in_model_units));
    auto g = gradient_at(c.rank(), 0, 50);
    texts[p] = complaint([&] { r.average(w, std::span(g)); });
    r.learning_rate(w, c.rank() == 0 ? 0.5 : 0.25);
    differ[p] = complaint([&] { r.average(w, std::span(g)); });
    if (r.step_number() != 0 || g != gradient_at(c.rank(), 0, 50)) differ[p] = "a refused step changed something";
    r.learning_rate(0.5);
    r.average(w, std::span(g));
  });
  for (auto const& t : texts) CHECK(t.find("call reducer.learning_rate(rate) before average") != std::string::npos);
  for (auto const& t : differ) {
    CHECK(t.find("at the learning rate 0.5") != std::string::npos);
    CHECK(t.find("at the learning rate 0.25") != std::string::npos);
  }
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", 1, 1, compress_with(half_of{}, in_model_units));
  r.learning_rate(1);
  for (double const bad : {0., -1., 1e-60, 1e60, std::numeric_limits<double>::quiet_NaN()})
    CHECK(complaint([&] { r.learning_rate(bad); }).find("need a positive number") != std::string::npos);
  CHECK(r.method(w).find("at the learning rate 1") != std::string::npos);
  floats g{1e10f};
  r.average(w, std::span(g));
  r.learning_rate(1e-35);  // the residual would be infinite: the step fails, the residual stays
  g = {1};
  CHECK_THROWS_AS(r.average(w, std::span(g)), non_finite_error);
  r.learning_rate(0.5);
  r.average(w, std::span(g));
  CHECK(g[0] == doctest::Approx(0.5f * (1 + 2 * 0.5e10f)));
}
