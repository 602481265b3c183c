// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/gtop_k.hpp>

#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/averaging.hpp"
#include "../support/distributions.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<gtop_k>);
static_assert(!exchange<put_back>);
static_assert(gtop_k::accepts({.combines = combination::merge}));
static_assert(!gtop_k::accepts({.combines = combination::merge, .fixed_size = false}) &&
              !gtop_k::accepts({.combines = combination::sum}) && !gtop_k::accepts({}));

namespace {
auto by(double density, put_back dropped) {
  return compress_with(top_k{.density = density}, error_feedback{}, gtop_k{.dropped = dropped});
}

/// The tree, done plainly on dense vectors: the k largest of a sum, over and over.
floats largest_of(floats const& x, std::size_t k) {
  std::vector<index_t> order(x.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return std::abs(x[a]) != std::abs(x[b]) ? std::abs(x[a]) > std::abs(x[b]) : a < b;
  });
  floats kept(x.size());
  for (std::size_t i = 0; i < k; ++i) kept[order[i]] = x[order[i]];
  return kept;
}
floats tree(std::vector<floats> all, std::size_t k) {
  for (auto& x : all) x = largest_of(x, k);
  for (std::size_t d = 1; d < all.size(); d *= 2)
    for (std::size_t r = 0; r + d < all.size(); r += 2 * d) all[r] = largest_of(plus(all[r], all[r + d]), k);
  return all[0];
}
}  // namespace

TEST_CASE("exchange::gtop_k is the tree of merges for any number of ranks") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const g = gradients_of(P, n);
      auto const k = kept_of(0.05, n);
      auto expected = tree(g, k);
      for (auto& v : expected) v /= static_cast<float>(P);
      for (auto const dropped : {put_back::owner_keeps, put_back::published}) {
        auto const step = average_once(g, by(0.05, dropped));
        CHECK(step.updates[0] == expected);
        for (std::size_t r = 0; r < P; ++r) {
          std::size_t hops = r == 0 ? 0 : 1;  // once up, and down to each child
          for (std::size_t d = 1; d < P; d *= 2) hops += r % (2 * d) == 0 && r + d < P ? 1u : 0u;
          CHECK(step.bytes[r] == hops * (32 + 8 * k));
          CHECK(step.messages[r] == hops);
        }
      }
    }
}

TEST_CASE("exchange::gtop_k: with owner_keeps nothing vanishes; with the published put-back 2.0 does") {
  // The merge of ranks 0 and 1 drops their 2 at index 0; ranks 2 and 3 bring index 0 back with 4.5, so rank 0 finds its
  // index in the result and keeps nothing.
  std::vector<floats> const g = {{2, 0, 0}, {0, 3, 0}, {2, 0, 0}, {2.5f, 0, 0}};
  auto const exact = average_once(g, by(0.01, put_back::owner_keeps)),
             published = average_once(g, by(0.01, put_back::published));
  CHECK(exact.updates[0] == floats{4.5f / 4, 0, 0});
  CHECK(published.updates[0] == exact.updates[0]);
  CHECK(vanished(g, exact) == 0.0);
  CHECK(vanished(g, published) == 2.0);
  for (std::size_t P = 2; P <= 9; ++P) {
    auto const random = gradients_of(P, 200);
    CHECK(vanished(random, average_once(random, by(0.05, put_back::owner_keeps))) < 1e-4);
  }
}

TEST_CASE("exchange::gtop_k: the published put-back loses mass in about three steps of four, owner_keeps in none") {
  constexpr std::size_t trials = 400, P = 8, n = 30;  // k = 3
  std::size_t published = 0, kept = 0;
  for (std::size_t t = 0; t < trials; ++t) {
    std::vector<floats> g;
    for (std::size_t p = 0; p < P; ++p) g.push_back(gaussian(n, 1000 + t * P + p));
    published += vanished(g, average_once(g, by(0.1, put_back::published))) > 1e-3 ? 1u : 0u;
    kept += vanished(g, average_once(g, by(0.1, put_back::owner_keeps))) > 1e-3 ? 1u : 0u;
  }
  MESSAGE("published loses mass in ", published, " of ", trials, " steps");
  CHECK(published > trials * 65 / 100);
  CHECK(published < trials * 81 / 100);
  CHECK(kept == 0);
}

TEST_CASE("exchange::gtop_k with k = n is the dense mean, to rounding") {
  for (std::size_t P = 1; P <= 9; ++P) {
    auto const g = gradients_of(P, 300);
    auto const dense = mean_in_order(g);
    auto const step = average_once(g, by(1, put_back::owner_keeps));
    for (std::size_t i = 0; i < 300; ++i) CHECK(std::abs(step.updates[0][i] - dense[i]) < 1e-6f);
    for (auto const& m : step.memories) CHECK(m.at("residual") == floats(300));
  }
}

TEST_CASE("exchange::gtop_k: nothing to merge, entries that cancel, ranks that all keep the same") {
  for (std::size_t P : {1u, 2u, 5u})
    CHECK(average_once(std::vector<floats>(P), by(0.5, put_back::owner_keeps)).updates[0].empty());
  auto const cancel = average_once({{1, 0}, {-1, 0}}, by(0.5, put_back::owner_keeps));
  CHECK(cancel.updates[0] == floats{0, 0});
  auto const same = average_once(std::vector<floats>(6, {0.5f, 4, 0.25f}), by(0.34, put_back::published));
  CHECK(same.updates[0] == floats{0, 4, 0});
}

TEST_CASE("exchange::gtop_k has a text form") {
  CHECK(describe(gtop_k{}) == "gtop_k(dropped=owner_keeps)");
  CHECK(describe(gtop_k{.dropped = put_back::published}) == "gtop_k(dropped=published)");
}
