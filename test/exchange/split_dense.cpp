// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/split_dense.hpp>

#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/sparse_sums.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<split_dense<>> && exchange<split_dense<bf16>>);
static_assert(split_dense<>::accepts({.combines = combination::merge}) &&
              split_dense<>::accepts({.combines = combination::merge, .fixed_size = false}));
static_assert(!split_dense<>::accepts({.combines = combination::sum}) && !split_dense<>::accepts({}));

TEST_CASE("exchange::split_dense is the dense sum, and sends what its supports say") {
  for_each_sparse_input(split_dense{}, [](std::vector<floats> const& g, std::vector<floats> const& sent,
                                          auto const& kept, auto const& method) {
    auto const step = average_once(g, method);
    auto const P = g.size(), n = g[0].size();
    CHECK(step.updates[0] == mean_in_order(sent));
    if (P != 9) CHECK(vanished(g, step) == 0.0);
    for (std::size_t r = 0; r < P; ++r)
      CHECK(step.bytes[r] == bytes_of_split(kept, n, r) + 32 + 4 + 4 * slice_of(n, r, P).second);
    for (auto const m : step.messages) CHECK(m == 3);
  });
}

TEST_CASE("exchange::split_dense: a rounded last stage is remembered by the owner of the part") {
  auto const check = [](auto last, double bytes_a_value, double largest) {
    for (std::size_t P = 1; P <= 9; ++P)
      for (std::size_t const n : {1u, 33u, 1000u}) {
        CAPTURE(P);
        CAPTURE(n);
        auto const g = gradients_of(P, n);
        top_k const keeps{.density = 0.3};
        auto const exact = average_once(g, compress_with(keeps, error_feedback{}, split_dense{}));
        auto const step = average_once(g, compress_with(keeps, error_feedback{}, split_dense{last}));
        CHECK(vanished(g, step) < 1e-5 * static_cast<double>(P * n));  // float addition alone
        double off = 0;
        for (std::size_t i = 0; i < n; ++i)
          off = std::max(off, std::abs(static_cast<double>(step.updates[0][i] - exact.updates[0][i])));
        CHECK(off <= largest);
        if (n == 1000) CHECK(off > 0);
        for (std::size_t r = 0; r < P; ++r) {
          auto const [from, length] = slice_of(n, r, P);
          for (std::size_t i = 0; i < n; ++i)  // the loss is in one memory, and no other differs
            if (i < from || i >= from + length)
              CHECK(step.memories[r].at("residual")[i] == exact.memories[r].at("residual")[i]);
          auto const rounded = exact.bytes[r] - 4 * length + pad4(last.code_bytes(length));
          CHECK(step.bytes[r] == rounded);
          CHECK(static_cast<double>(last.code_bytes(length)) <= bytes_a_value * static_cast<double>(length) + 5);
        }
      }
  };
  check(bf16{}, 2, 0.01);
  check(stochastic_int{.bits = 8}, 1, 0.02);
  check(stochastic_int{.bits = 4}, 0.5, 0.3);
}

TEST_CASE("exchange::split_dense: without a memory a stochastic last stage is right on average") {
  constexpr std::size_t n = 64;
  auto const g = gradients_of(3, n);
  std::vector<double> mean(n);
  constexpr int steps = 400;
  run_ranks(3, [&](thread_communicator& c) {
    reducer r{serial{}, c, {.seed = 9}};
    auto const w =
        r.add("w", n, 1, compress_with(top_k{.density = 0.5}, split_dense{stochastic_int{.bits = 4, .block = 64}}));
    for (int s = 0; s < steps; ++s) {
      auto x = g[static_cast<std::size_t>(c.rank())];
      r.average(w, std::span(x));
      if (c.rank() == 0)
        for (std::size_t i = 0; i < n; ++i) mean[i] += static_cast<double>(x[i]) / steps;
    }
  });
  auto const exact = average_once(g, compress_with(top_k{.density = 0.5}, split_dense{})).updates[0];
  double off = 0;
  for (std::size_t i = 0; i < n; ++i) off = std::max(off, std::abs(mean[i] - static_cast<double>(exact[i])));
  CHECK(off < 0.02);  // one level is 1/7 of the largest: 0.1 or so a step
}

TEST_CASE("exchange::split_dense: several tensors travel in one message; any transport gives the same") {
  check_fused_and_derived(split_dense{});
  check_fused_and_derived(split_dense{stochastic_int{.bits = 4}});
}

TEST_CASE("exchange::split_dense: sums that overflow are an error, rounded or not, and enter no memory") {
  std::vector<floats> const g = {{3e38f, 1, 0, 0, 0}, {3e38f, 1, 0, 0, 0}};
  auto const fails = [&](auto last) {
    CHECK_THROWS_AS(average_once(g, compress_with(top_k{.density = 0.2}, error_feedback{}, split_dense{last})),
                    non_finite_error);
  };
  fails(unrounded{});
  fails(bf16{});
  fails(stochastic_int{.bits = 8});
}

TEST_CASE("exchange::split_dense: any damaged byte is one error on all ranks, and nothing has changed") {
  check_damage(split_dense{});
  check_damage(split_dense{bf16{}});
}

TEST_CASE("exchange::split_dense checks its knobs and has a text form") {
  CHECK(describe(split_dense{}) == "split_dense(last=none)");
  CHECK(describe(split_dense{bf16{}}) == "split_dense(last=bf16)");
  CHECK_THROWS_AS(split_dense{stochastic_int{.bits = 3}}.check(), configuration_error);
}
