// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/two_sided.hpp>

#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/none.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/two_ways.hpp"

using namespace gradpress;
using namespace gradpress::test;

using both_remember = two_sided<sign, error_feedback>;
static_assert(exchange<two_sided<>> && exchange<both_remember>);
static_assert(chunks_tensors<both_remember> && keeps_coefficients<both_remember> && !keeps_coefficients<two_sided<>>);
static_assert(two_sided<>::accepts({.dense = true}) && !two_sided<>::accepts({}) &&
              !two_sided<>::accepts({.dense = true, .agreed = true}) && !two_sided<>::accepts(agreement_kind));

TEST_CASE("exchange::two_sided with codes that lose nothing is the dense mean, exactly for multiples of 840") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {0u, 1u, 7u, 31u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      std::vector<floats> g(P, floats(n));
      for (std::size_t p = 0; p < P; ++p)  // every sum is a small integer, and every quotient by 1..8
        for (std::size_t i = 0; i < n; ++i)
          g[p][i] = 840.f * static_cast<float>(static_cast<int>((i * 7 + p * 13) % 41) - 20);
      auto const dense = average_once(g, compress_with());
      for (auto const& step : {average_once(g, compress_with(two_sided{})),
                               average_once(g, compress_with(two_sided{unquantized{}, error_feedback{}}))}) {
        if (P != 9) CHECK(step.updates[0] == dense.updates[0]);
        for (auto const b : step.bytes) CHECK(b == P * (32 + 4 * ((n + P - 1) / P)));
        for (auto const m : step.messages) CHECK(m == 2);
      }
    }
}

TEST_CASE("exchange::two_sided: the owner, too, uses what everyone decodes") {
  for (std::size_t const P : {1u, 2u, 3u, 5u}) {
    auto const g = gradients_of(P, 100);
    auto const exact = average_once(g, compress_with(two_sided{})).updates[0];
    auto const rounded = average_once(g, compress_with(two_sided{.down = bf16{}})).updates[0];
    CHECK(identical(rounded, round_trip_of(bf16{}, exact)));
  }
}

TEST_CASE("exchange::two_sided: with memories at both ends nothing vanishes, in any step") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 64u, 65u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const check = [&](auto const& method) {
        auto const steps = two_way_steps(P, n, 6, method);
        CHECK(lost_on_the_way(P, steps) < 1e-4);
        return steps;
      };
      sign const s{.block = 32};
      stochastic_int const q{.bits = 4, .block = 64};
      auto const steps = check(compress_with(s, error_feedback{}, two_sided{s, error_feedback{}}));
      for (std::size_t p = 0; p < P; ++p) {  // chunks of whole blocks
        auto const each = ((n + 31) / 32 + P - 1) / P * 32;
        CHECK(steps[0].owned[p] == std::min(n - std::min(n, p * each), each));
      }
      check(compress_with(q, error_feedback{}, two_sided{log_quantizer{.bits = 4}, error_feedback{}}));
      check(compress_with(q, error_feedback{}, two_sided{q}));  // the owner's own memory takes the loss
      check(compress_with(two_sided{s, error_feedback{}}));     // only the way down loses anything
      check(compress_with(bf16{}, error_feedback{}, two_sided{s, no_feedback{}}));
    }
}

TEST_CASE("exchange::two_sided: an owner's memory is bounded, and catches up with a constant gradient") {
  constexpr std::size_t n = 256;
  auto const g = gradients_of(4, n);
  auto const mean = mean_in_order(g);
  auto const off = [&](auto const& method) {
    auto const got = mean_update(g, 300, method);
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(got[i] - static_cast<double>(mean[i])));
    return worst;
  };
  sign const s{.block = 64};
  auto const remembered = off(compress_with(two_sided{s, error_feedback{}})),
             forgotten = off(compress_with(two_sided{s}));
  MESSAGE("largest error of the mean of 300 updates: ", remembered, ", without a memory ", forgotten);
  CHECK(remembered < 0.1);
  CHECK(forgotten > 0.4);
}

TEST_CASE("exchange::two_sided: codes that are right on average are so both ways") {
  constexpr std::size_t n = 64;
  auto const g = gradients_of(3, n);
  auto const mean = mean_in_order(g);
  stochastic_int const q{.bits = 4, .block = 64};
  auto const got = mean_update(g, 600, compress_with(q, two_sided{q}));
  for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(got[i] - static_cast<double>(mean[i])) < 0.04);
}

TEST_CASE("exchange::two_sided: a mirrored memory equals the mean of its parts, less what the owners remember") {
  constexpr std::size_t n = 200, P = 3;
  std::vector<std::map<std::string, floats>> state(P);
  std::vector<floats> owners(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, compress_with(bf16{}, ef21{}, two_sided{sign{.block = 32}, error_feedback{}}));
    recollection seen;
    train(r, w, c.rank(), n, 0, 8, seen);
    std::ostringstream file;
    r.save(file);
    owners[p] = field_of(file.str(), "owner");
    state[p] = seen.state;
  });
  floats owned;
  for (auto const& o : owners) owned.insert(owned.end(), o.begin(), o.end());
  for (std::size_t i = 0; i < n; ++i) {
    double mine = 0;
    for (auto const& s : state) mine += static_cast<double>(s.at("mine")[i]) / P;
    CHECK(std::abs(mine - static_cast<double>(state[0].at("mirror")[i] + owned[i])) < 1e-4);
  }
}

TEST_CASE("exchange::two_sided: a rollback, a NaN and a checkpoint leave the owners' memories as they were") {
  check_resumes(compress_with(sign{.block = 32}, error_feedback{}, two_sided{sign{.block = 32}, error_feedback{}}));
  check_resumes(compress_with(two_sided{stochastic_int{.bits = 2, .block = 64}, error_feedback{}}));
}

TEST_CASE("exchange::two_sided: what is counted is what is sent") {
  for (std::size_t P = 1; P <= 5; ++P)
    for (std::size_t const n : {5u, 300u})
      check_counted_bytes(P, n, compress_with(bf16{}, error_feedback{}, two_sided{sign{}, error_feedback{}}), true);
}

TEST_CASE("exchange::two_sided: behind a projector the loss of the way down goes to the owner's own memory") {
  auto const method =
      compress_with(low_rank{.rank = 2, .minimum_rate = 0}, error_feedback{}, two_sided{.down = bf16{}});
  constexpr std::size_t P = 3;
  std::vector<floats> updates(P), residuals(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 20, 15, method);
    updates[p] = gradient_at(c.rank(), 0, 300);
    r.average(w, std::span(updates[p]));
    r.visit(w, [&](char const*, auto const& b) { residuals[p] = copied(b); });
  });
  for (std::size_t i = 0; i < 300; ++i) {
    double left = -3.0 * static_cast<double>(updates[0][i]);
    for (std::size_t p = 0; p < P; ++p)
      left += static_cast<double>(gradient_at(static_cast<int>(p), 0, 300)[i]) - static_cast<double>(residuals[p][i]);
    CHECK(std::abs(left) < 1e-4);
  }
}

TEST_CASE("exchange::two_sided: a sum that overflows is an error, and so is a memory that would") {
  CHECK_THROWS_AS(average_once({{3e38f, 1}, {3e38f, 1}}, compress_with(two_sided{sign{}, error_feedback{}})),
                  non_finite_error);
}

TEST_CASE("exchange::two_sided: any damaged byte is one error on all ranks, and nothing has changed") {
  check_damage_of(compress_with(sign{.block = 32}, error_feedback{}, two_sided{bf16{}, error_feedback{}}));
}

namespace {
/// Rank 1 sends scales that are not finite.
struct broken : sign {
  static constexpr std::string_view name = "broken";
  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    bool const finite = sign::encode(ctx, x, codes);
    if (x.extent(0) > 0 && ctx.rank == 1) as<float>(codes)(0) = not_finite[0];
    return finite;
  }
};
}  // namespace

TEST_CASE("exchange::two_sided: a message that is well sealed and wrong, up or down, is an error on all ranks") {
  CHECK_THROWS_AS(average_once(gradients_of(3, 3000), compress_with(broken{}, two_sided{sign{}, error_feedback{}})),
                  non_finite_error);
  CHECK_THROWS_AS(average_once(gradients_of(3, 3000), compress_with(sign{}, two_sided{broken{}, error_feedback{}})),
                  non_finite_error);
}

TEST_CASE("exchange::two_sided checks its knobs, has a text form, and does not let chunks move under a memory") {
  CHECK(describe(two_sided{}) == "two_sided(down=none,memory=none)");
  CHECK(describe(two_sided{sign{}, error_feedback{}}) == "two_sided(down=sign(block=1024),memory=error_feedback)");
  CHECK_THROWS_AS((two_sided{.down = sign{.block = 3}}.check()), configuration_error);
  CHECK_THROWS_AS((two_sided{.down = sign{}, .memory = error_feedback{.decay = 0.5}}.check()), configuration_error);
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    sign const s{.block = 32};
    auto const a = r.add("a", 300, 1, compress_with(s, two_sided{s, error_feedback{}}));
    auto const b = r.add("b", 300, 1, compress_with(s, two_sided{s}));
    r.set(b, "sign.block", 64);
    bool refused = false;
    try {
      r.set(a, "sign.block", 128);
    } catch (configuration_error const&) {
      refused = true;
    }
    if (!refused) throw std::runtime_error("chunks moved under a memory");
  });
}
