// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/scatter_reduce.hpp>

#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/averaging.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<scatter_reduce>);
static_assert(chunks_tensors<scatter_reduce> && !chunks_tensors<all_gather>);
static_assert(!exchange<scatter_reduce*>);
static_assert(scatter_reduce::accepts({.dense = true}) &&
              scatter_reduce::accepts({.combines = combination::sum, .dense = true}));
static_assert(!scatter_reduce::accepts({}) && !scatter_reduce::accepts({.dense = true, .agreed = true}) &&
              !scatter_reduce::accepts({.fixed_size = false, .dense = true}) &&
              !scatter_reduce::accepts(agreement_kind));

TEST_CASE("exchange::scatter_reduce without a quantizer is the dense mean, exactly for multiples of 840") {
  for (std::size_t P = 1; P <= 8; ++P)
    for (std::size_t const n : {0u, 1u, 7u, 31u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      std::vector<floats> g(P, floats(n));
      for (std::size_t p = 0; p < P; ++p)  // every sum and every quotient by 1..8 is a small integer
        for (std::size_t i = 0; i < n; ++i)
          g[p][i] = 840.f * static_cast<float>(static_cast<int>((i * 7 + p * 13) % 41) - 20);
      auto const dense = average_once(g, compress_with());
      auto const chunked = average_once(g, compress_with(scatter_reduce{}));
      CHECK(chunked.updates[0] == dense.updates[0]);
      auto const block = 32 + 4 * ((n + P - 1) / P);
      for (auto const b : chunked.bytes) CHECK(b == P * block);
      for (auto const m : chunked.messages) CHECK(m == 2);
    }
}

TEST_CASE("exchange::scatter_reduce encodes twice, whatever the number of ranks") {
  constexpr std::size_t n = 1000;
  SUBCASE("equal gradients that the format holds come back as they were") {
    floats const g = {1.f, -0.5f, 3.f, 0.f, 96.f};
    for (std::size_t P : {1u, 2u, 7u})
      CHECK(average_once(std::vector<floats>(P, g), compress_with(bf16{}, scatter_reduce{})).updates[0] == g);
  }
  SUBCASE("bf16: within two roundings of the mean of 8 ranks") {
    auto const g = gradients_of(8, n);
    auto const mean = mean_in_order(g);
    auto const step = average_once(g, compress_with(bf16{}, scatter_reduce{}));
    for (std::size_t i = 0; i < n; ++i) {
      double size = 0;
      for (auto const& x : g) size += std::abs(static_cast<double>(x[i])) / 8;
      CHECK(std::abs(static_cast<double>(step.updates[0][i]) - static_cast<double>(mean[i])) <=
            2 * 0x1p-8 * size + 1e-7);
    }
  }
}

TEST_CASE("exchange::scatter_reduce: one memory serves both encodings, and nothing vanishes") {
  for (std::size_t P : {1u, 2u, 3u, 5u, 8u})
    for (std::size_t const n : {1u, 64u, 65u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const g = gradients_of(P, n);
      CHECK(vanished(g, average_once(g, compress_with(bf16{}, error_feedback{}, scatter_reduce{}))) <
            1e-5 * static_cast<double>(n * P));
      CHECK(vanished(g, average_once(g, compress_with(sign{.block = 32}, error_feedback{}, scatter_reduce{}))) <
            1e-5 * static_cast<double>(n * P));
      stochastic_int const q{.bits = 4, .block = 64};
      CHECK(vanished(g, average_once(g, compress_with(q, error_feedback{}, scatter_reduce{}))) <
            1e-5 * static_cast<double>(n * P));
    }
}

TEST_CASE("exchange::scatter_reduce cuts at the grain, so that blocks of a quantizer stay whole") {
  // 65 values in blocks of 64 for 4 ranks: two grains, so ranks 2 and 3 own nothing; the largest chunk is 64 long.
  auto const g = gradients_of(4, 65);
  stochastic_int const q{.bits = 8, .block = 64};
  for (auto const b : average_once(g, compress_with(q, scatter_reduce{})).bytes) CHECK(b == 4 * (32 + 4 + 64));
}
