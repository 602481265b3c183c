// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/recursive_doubling.hpp>

#include "../support/sparse_sums.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<recursive_doubling>);
static_assert(recursive_doubling::accepts({.combines = combination::merge}) &&
              recursive_doubling::accepts({.combines = combination::merge, .fixed_size = false}));
static_assert(!recursive_doubling::accepts({.combines = combination::sum}) && !recursive_doubling::accepts({}));

namespace {
/// What a rank sends, worked out from the supports alone: sets, no floats.
struct traveller_model {
  std::size_t n = 0;
  std::vector<supported> now;
  std::vector<std::uint64_t> sent;

  explicit traveller_model(std::vector<supported> own, std::size_t length) : n(length), now(std::move(own)) {
    sent.resize(now.size());
    for (auto& s : now) s = joined({}, s, n);
  }
  void send(std::size_t r) { sent[r] += 16 + 32 + now[r].bytes(n); }
  std::vector<std::uint64_t> const& run() {
    auto const P = now.size();
    std::size_t half = 1;
    while (2 * half <= P) half *= 2;
    std::vector<std::size_t> active;
    auto const extra = P - half;
    for (std::size_t r = 0; r < P; ++r)
      if (r >= 2 * extra || r % 2 == 1) active.push_back(r);
    for (std::size_t e = 0; e < extra; ++e) {
      send(2 * e);
      now[2 * e + 1] = joined(now[2 * e + 1], now[2 * e], n);
    }
    for (std::size_t d = 1; d < half; d *= 2) {
      auto const before = now;
      for (auto const r : active) send(r);
      for (std::size_t i = 0; i < half; ++i) now[active[i]] = joined(before[active[i]], before[active[i ^ d]], n);
    }
    for (std::size_t e = 0; e < extra; ++e) send(2 * e + 1);
    return sent;
  }
};
}  // namespace

TEST_CASE("exchange::recursive_doubling is the dense sum, and sends what its supports say") {
  for_each_sparse_input(recursive_doubling{}, [](std::vector<floats> const& g, std::vector<floats> const& sent,
                                                 auto const& kept, auto const& method) {
    auto const step = average_once(g, method);
    CHECK(step.updates[0] == mean_in_order(sent));
    if (g.size() != 9) CHECK(vanished(g, step) == 0.0);
    CHECK(step.bytes == traveller_model(supports_of(kept), g[0].size()).run());
  });
}

TEST_CASE("exchange::recursive_doubling: equal supports cost log2 P sums of k, disjoint ones P - 1") {
  constexpr std::size_t n = 4096, k = 16;
  for (std::size_t P : {2u, 4u, 8u, 16u}) {
    std::vector<floats> equal(P, floats(n)), disjoint(P, floats(n));
    std::size_t hops = 0;
    for (std::size_t p = 1; p < P; p *= 2) ++hops;
    for (std::size_t p = 0; p < P; ++p)
      for (std::size_t i = 0; i < k; ++i) equal[p][17 * i] = disjoint[p][17 * i + p] = static_cast<float>(p + 1);
    auto const method = compress_with(top_k{.density = k / 4096.0}, error_feedback{}, recursive_doubling{});
    for (auto const b : average_once(equal, method).bytes) CHECK(b == hops * (16 + 32 + 4) + hops * 8 * k);
    for (auto const b : average_once(disjoint, method).bytes) CHECK(b == hops * (16 + 32 + 4) + (P - 1) * 8 * k);
    for (auto const m : average_once(equal, method).messages) CHECK(m == 2 * hops);
  }
}

TEST_CASE("exchange::recursive_doubling: replicas are bitwise equal where the order of addition shows") {
  for (std::size_t P = 1; P <= 9; ++P) {
    auto const g = gradients_of(P, 1000);
    auto const step = average_once(g, compress_with(top_k{.density = 0.1}, error_feedback{}, recursive_doubling{}));
    CHECK(vanished(g, step) < 1e-4);
  }
}

TEST_CASE("exchange::recursive_doubling: several tensors travel in one message a hop; any transport gives the same") {
  check_fused_and_derived(recursive_doubling{});
}

TEST_CASE("exchange::recursive_doubling: sums that overflow are an error") {
  CHECK_THROWS_AS(average_once({{3e38f, 1, 0, 0, 0}, {3e38f, 1, 0, 0, 0}},
                               compress_with(top_k{.density = 0.2}, error_feedback{}, recursive_doubling{})),
                  non_finite_error);
}

TEST_CASE("exchange::recursive_doubling: any damaged byte is one error on all ranks, and nothing has changed") {
  check_damage(recursive_doubling{});
}

TEST_CASE("exchange::recursive_doubling has a text form") {
  CHECK(describe(recursive_doubling{}) == "recursive_doubling");
}
