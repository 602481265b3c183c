// SPDX-License-Identifier: Apache-2.0
#include <gradpress/optimizer/dist_ef_sgd.hpp>

#include <gradpress/exchange/scatter_reduce.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/schedule/piecewise.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 200;

/// Delivers half of everything: a contraction.
struct half : unquantized {
  static constexpr std::string_view name = "half";
  template <class Exec>
  void encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    kernel::scale_copy(ctx.exec, x.data(), x.extent(0), 0.5f, as<float>(codes).data());
  }
  bool encode_sum(auto&&...) const = delete;  // which would deliver all
};
}  // namespace

TEST_CASE("optimizer::dist_ef_sgd is the published recursion with its ratio of learning rates") {
  constexpr int steps = 30;
  auto const rate_at = [](std::uint64_t s) { return 0.1 / (1. + 0.2 * static_cast<double>(s % 7)); };
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  program p(train_with(r, dist_ef_sgd{.momentum = 0.6}, compress_with(top_k{.density = 0.1}, error_feedback{})), 0, n);
  p.driver.follow("learning_rate", rate_at);

  std::vector<double> x, m(n), e(n), a(n);
  for (auto const v : start_of(n)) x.push_back(static_cast<double>(v));
  floats g(n), w(n);
  double worst = 0, owed = 0;
  for (std::uint64_t s = 0; s < steps; ++s) {
    double const rate = rate_at(s), ratio = s == 0 ? 0 : rate_at(s - 1) / rate;
    for (std::size_t i = 0; i < n; ++i) w[i] = static_cast<float>(x[i]);
    differentiate(0, s, w, g);
    std::vector<std::size_t> order(n);
    for (std::size_t i = 0; i < n; ++i) {
      m[i] = 0.6 * m[i] + static_cast<double>(g[i]);
      a[i] = static_cast<double>(g[i]) + 0.6 * m[i] + ratio * e[i];
      order[i] = i;
    }
    std::sort(order.begin(), order.end(), [&](auto i, auto j) {
      return std::abs(a[i]) != std::abs(a[j]) ? std::abs(a[i]) > std::abs(a[j]) : i < j;
    });
    e = a;
    for (std::size_t k = 0; k < n / 10; ++k) {
      x[order[k]] -= rate * a[order[k]];
      e[order[k]] = 0;
    }
    p.step();
    for (std::size_t i = 0; i < n; ++i) {
      worst = std::max(worst, std::abs(x[i] - static_cast<double>(p.w[i])));
      owed = std::max(owed, rate * std::abs(e[i]));
    }
  }
  CHECK(worst < 1e-5);
  CHECK(owed > 0.01);
}

TEST_CASE(
    "optimizer::dist_ef_sgd: what is owed falls with a rate that falls fast, where in the gradient's units it grows") {
  // With half delivered and rates of 0.4^t the published memory obeys e = (1 + e / 0.4) / 2, which is 1e6 after 60 steps.
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto d = train_with(r, dist_ef_sgd{.learning_rate = 1, .momentum = 0}, compress_with(half{}, error_feedback{}));
  d.follow("learning_rate", [](std::uint64_t s) { return std::pow(0.4, static_cast<double>(s)); });
  floats x{0}, g{1};
  auto const h = d.add("x", {1}, std::span(x));
  double e = 0, in_gradients = 0, rate = 1;
  for (int s = 0; s < 60; ++s, rate *= 0.4) {
    static_cast<void>(d.next());
    g[0] = 1;
    d.stage(h, std::span(g));
    d.take();
    e = (rate + e) / 2;
    in_gradients = (1 + in_gradients / 0.4) / 2;
    CHECK(static_cast<double>(r.residual(d.tensor(h))(0)) == doctest::Approx(e).epsilon(1e-4));
  }
  CHECK(e < 1e-17);
  CHECK(in_gradients > 1e5);
}

TEST_CASE(
    "optimizer::dist_ef_sgd without compression is Nesterov's sgd: bit for bit on one rank, to rounding on several") {
  sgd const plain{.momentum = 0.8, .weight_decay = 0.01, .nesterov = true};
  dist_ef_sgd const local{.momentum = 0.8, .weight_decay = 0.01};
  CHECK(identical(train(1, n, 30, false, 0.3f, local, compress_with())[0].last,
                  train(1, n, 30, false, 0.3f, plain, compress_with())[0].last));
  CHECK(apart(train(3, n, 30, false, 0.3f, local, compress_with())[0].last,
              train(3, n, 30, false, 0.3f, plain, compress_with())[0].last) < 3e-6);
}

TEST_CASE("optimizer::dist_ef_sgd, signs on both sides: replicas are equal and come to the optimum") {
  using signs = gradpress::sign;
  auto const check = [](auto const& by) {
    for (int const P : {1, 3, 9}) {
      CAPTURE(P);
      auto const all = train(P, 96, 400, false, 0.f, dist_ef_sgd{.learning_rate = 0.03, .momentum = 0.5}, by);
      CHECK(equal_replicas(all));
      floats mean(96), g(96);
      for (int p = 0; p < P; ++p) {
        differentiate(p, 0, all[0].last, g, 0.f);
        for (std::size_t i = 0; i < 96; ++i) mean[i] += g[i] / static_cast<float>(P);
      }
      CHECK(apart(mean, floats(96)) < 0.1);
    }
  };
  SUBCASE("what the owner loses enters its own memory") {
    check(compress_with(signs{.block = 32}, scatter_reduce{}, error_feedback{}));
  }
  SUBCASE("the owner has a memory for it") {
    check(compress_with(signs{.block = 32}, two_sided{signs{.block = 32}, error_feedback{}}, error_feedback{}));
  }
}

TEST_CASE("optimizer::dist_ef_sgd goes on after undo, a NaN, a look at the model, and a load") {
  using signs = gradpress::sign;
  check_training_resumes(
      dist_ef_sgd{.learning_rate = 0.03},
      compress_with(signs{.block = 32}, two_sided{signs{.block = 32}, error_feedback{}}, error_feedback{}));
}
