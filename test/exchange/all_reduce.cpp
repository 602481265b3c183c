// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/all_reduce.hpp>

#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_k.hpp>

#include "../support/averaging.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
struct no_run {
  static constexpr std::string_view name = "no_run";
  static constexpr bool accepts(message_kind) { return true; }
};
struct accepts_with_a_number : all_reduce {
  static constexpr int accepts(message_kind) { return 1; }
};
}  // namespace
static_assert(exchange<all_reduce>);
static_assert(!exchange<no_run>);
static_assert(!exchange<accepts_with_a_number>);
static_assert(!exchange<int>);
static_assert(all_reduce::accepts({.combines = combination::sum}) && all_reduce::accepts(agreement_kind));
static_assert(!all_reduce::accepts({.combines = combination::sum, .fixed_size = false}));
static_assert(!all_reduce::accepts({.combines = combination::merge}) &&
              !all_reduce::accepts({.combines = combination::nothing}));

TEST_CASE("exchange::all_reduce is the mean, equal on all ranks") {
  for (std::size_t P = 1; P <= 5; ++P)
    for (std::size_t const n : {0u, 1u, 33u, 1000u}) {
      auto const g = gradients_of(P, n);
      auto const step = average_once(g, compress_with(all_reduce{}));
      auto const mean = mean_in_order(g);
      CAPTURE(P);
      CAPTURE(n);
      for (std::size_t i = 0; i < n; ++i) CHECK(step.updates[0][i] == doctest::Approx(mean[i]).epsilon(1e-5));
      for (auto const b : step.bytes) CHECK(b == 4 * n);  // bare: no header
      for (auto const m : step.messages) CHECK(m == 1);
    }
}

TEST_CASE(
    "exchange::all_reduce sends no indices for a shared support, and one more number where an agreement goes first") {
  auto const g = gradients_of(3, 1000);
  auto const sparse = average_once(g, compress_with(random_k{.density = 0.1}, all_reduce{}));
  for (auto const b : sparse.bytes) CHECK(b == 400);
  auto const mean = mean_in_order(g);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    if (sparse.updates[0][i] == 0) continue;
    ++kept;
    CHECK(sparse.updates[0][i] == doctest::Approx(mean[i]).epsilon(1e-5));
  }
  CHECK(kept == 100);
  auto const agreed = average_once(g, compress_with(ternary8{}, all_reduce{}));
  for (auto const b : agreed.bytes) CHECK(b == 4 + 1000);
  for (auto const m : agreed.messages) CHECK(m == 2);
  auto const narrow = average_once(g, compress_with(bf16{}, all_reduce{}));
  for (auto const b : narrow.bytes) CHECK(b == 2000);
}

TEST_CASE("exchange::all_reduce agrees on the largest scale of all ranks") {
  std::vector<floats> g = {{1.f, 0.f}, {0.f, -4.f}, {2.f, 2.f}};
  auto const step = average_once(g, compress_with(ternary{}, all_reduce{}));
  for (float const v : step.updates[0]) CHECK(v * 3 / 4 == std::round(v * 3 / 4));  // sums of codes under scale 4
}
