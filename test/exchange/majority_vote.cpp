// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/majority_vote.hpp>

#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>

#include "../support/two_ways.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<majority_vote> && chunks_tensors<majority_vote> && !delivers_mean<majority_vote>);
static_assert(delivers_mean<all_gather>);
static_assert(majority_vote::accepts({.dense = true, .votes = true}) && !majority_vote::accepts({.dense = true}) &&
              !majority_vote::accepts({.votes = true}));

namespace {
auto voting(tie ties) { return compress_with(sign_bits{}, majority_vote{ties}); }
/// The sum of signs, in whole numbers.
int ballot(std::vector<floats> const& g, std::size_t i) {
  int sum = 0;
  for (auto const& x : g) sum += std::signbit(x[i]) ? -1 : 1;
  return sum;
}
}  // namespace

TEST_CASE("exchange::majority_vote is the sign of the sum of signs, whoever counts") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const g = gradients_of(P, n);
      auto const plus = average_once(g, voting(tie::plus)), zero = average_once(g, voting(tie::zero)),
                 random = average_once(g, voting(tie::random));
      int wrong = 0, tied = 0, heads = 0;
      for (std::size_t i = 0; i < n; ++i) {
        auto const sum = ballot(g, i);
        auto const winner = sum > 0 ? 1.f : -1.f;
        wrong += plus.updates[0][i] != (sum == 0 ? 1.f : winner);
        wrong += zero.updates[0][i] != (sum == 0 ? 0.f : winner);
        wrong += sum == 0 ? std::abs(random.updates[0][i]) != 1.f : random.updates[0][i] != winner;
        tied += sum == 0;
        heads += sum == 0 && random.updates[0][i] > 0;
      }
      CHECK(wrong == 0);
      if (n == 1000 && P % 2 == 0) {
        CHECK(tied > 100);
        CHECK(3 * heads > tied);
        CHECK(3 * heads < 2 * tied);
      } else if (P % 2 == 1) {
        CHECK(tied == 0);
      }
      auto const words = ((n + 31) / 32 + P - 1) / P;  // of the first chunk
      auto const up = 32 + (n > 0 ? 4 : 0) + 4 * words;
      for (auto const b : plus.bytes) CHECK(b == (P - 1) * up + 32 + 4 * words);
      for (auto const b : zero.bytes) CHECK(b == (P - 1) * up + 32 + 8 * words);
      for (auto const m : plus.messages) CHECK(m == 2);
    }
}

TEST_CASE("exchange::majority_vote: coins at ties are tossed anew in every step") {
  std::vector<floats> seen;
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 200, voting(tie::random));
    for (int s = 0; s < 3; ++s) {
      floats g(200, c.rank() == 0 ? 1.f : -1.f);
      r.average(w, std::span(g));
      if (c.rank() == 0) seen.push_back(g);
    }
  });
  CHECK(seen[0] != seen[1]);
  CHECK(seen[1] != seen[2]);
}

TEST_CASE("exchange::majority_vote: who has nothing but zeros does not vote") {
  constexpr std::size_t n = 64;
  std::vector<floats> g(3, floats(n, 0.f));
  g[1] = floats(n, -2.f);
  CHECK(average_once(g, voting(tie::plus)).updates[0] == floats(n, -1.f));
  g[1] = g[0];
  CHECK(average_once(g, voting(tie::plus)).updates[0] == floats(n, 1.f));
  CHECK(average_once(g, voting(tie::zero)).updates[0] == floats(n, 0.f));
}

TEST_CASE("exchange::majority_vote: four liars of nine change nothing that the others agree on") {
  constexpr std::size_t n = 500;
  auto const truth = heavy_tailed(n);
  std::vector<floats> g(9, truth);
  for (std::size_t p = 0; p < 4; ++p)
    for (std::size_t i = 0; i < n; ++i) g[p][i] = p < 2 ? -1e6f * truth[i] : 1e6f * (key{p}.uniform(i) - 0.5f);
  auto const update = average_once(g, voting(tie::plus)).updates[0];
  for (std::size_t i = 0; i < n; ++i) CHECK(update[i] == std::copysign(1.f, truth[i]));
  // The mean of what they send has another sign somewhere.
  auto const mean = mean_in_order(g);
  bool misled = false;
  for (std::size_t i = 0; i < n; ++i) misled = misled || std::signbit(mean[i]) != std::signbit(truth[i]);
  CHECK(misled);
}

namespace {
/// Votes five times.
struct loud : sign_bits {
  static constexpr std::string_view name = "loud";
  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    bool const finite = sign_bits::encode(ctx, x, codes);
    if (x.extent(0) > 0 && ctx.rank == 1) as<float>(codes)(0) = 5;
    return finite;
  }
};
}  // namespace

TEST_CASE("exchange::majority_vote: who sends another magnitude is an error on all ranks") {
  CHECK_THROWS_AS(average_once(gradients_of(3, 100), compress_with(loud{}, majority_vote{})), payload_error);
}

TEST_CASE("exchange::majority_vote: with three liars of seven sign SGD comes down, and the mean does not") {
  constexpr std::size_t n = 32;
  auto const distance = [&](auto const& method, float rate) {
    double left = 0;
    run_ranks(7, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, method);
      floats x(n, 1.f);
      for (int s = 0; s < 400; ++s) {  // |x|^2 / 2 with noise as large as the start
        floats g(n);
        key const noise = key{5}.with(static_cast<std::uint64_t>(c.rank())).with(static_cast<std::uint64_t>(s));
        for (std::size_t i = 0; i < n; ++i) g[i] = x[i] + 2 * noise.uniform(i) - 1;
        if (c.rank() < 3)
          for (auto& v : g) v *= -10;
        r.average(w, std::span(g));
        for (std::size_t i = 0; i < n; ++i) x[i] -= rate * g[i];
      }
      if (c.rank() == 0) left = std::sqrt(squared(x) / n);
    });
    return left;
  };
  CHECK(distance(voting(tie::plus), 0.01f) < 0.3);
  CHECK(distance(compress_with(), 0.01f) > 1);
}

TEST_CASE("exchange::majority_vote: what is counted is what is sent, and any transport gives the same") {
  for (std::size_t P = 1; P <= 5; ++P) check_counted_bytes(P, 300, voting(tie::zero), true);
  for (int P : {1, 2, 3, 4}) {
    std::vector<floats> native(static_cast<std::size_t>(P)), derived = native;
    auto const vote = [&](auto& comm, std::vector<floats>& out) {
      auto const p = static_cast<std::size_t>(comm.rank());
      reducer r{serial{}, comm};
      auto const a = r.add("a", 300, voting(tie::zero)), b = r.add("b", 41, voting(tie::zero));
      auto x = gradient_at(comm.rank(), 0, 300), y = gradient_at(comm.rank(), 1, 41);
      r.stage(a, std::span(x)), r.stage(b, std::span(y));
      r.average();
      out[p] = x;
      out[p].insert(out[p].end(), y.begin(), y.end());
    };
    run_ranks(P, [&](thread_communicator& c) { vote(c, native); });
    run_ranks(P, [&](thread_communicator& c) {
      gather_only<thread_communicator> bare{c};
      vote(bare, derived);
    });
    CHECK(native == derived);
    for (auto const& x : native) CHECK(x == native[0]);
  }
}

TEST_CASE("exchange::majority_vote: a NaN on one rank is an error on all, and a step taken back is repeated") {
  check_resumes(voting(tie::random));
}

TEST_CASE("exchange::majority_vote: any damaged byte is one error on all ranks") {
  check_damage_of(voting(tie::plus));
  check_damage_of(voting(tie::zero));
}

TEST_CASE("exchange::majority_vote has a text form") {
  CHECK(describe(majority_vote{}) == "majority_vote(ties=plus)");
  CHECK(describe(majority_vote{tie::random}) == "majority_vote(ties=random)");
}
