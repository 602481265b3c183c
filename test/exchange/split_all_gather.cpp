// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/split_all_gather.hpp>

#include "../support/sparse_sums.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<split_all_gather>);
static_assert(split_all_gather::accepts({.combines = combination::merge}) &&
              split_all_gather::accepts({.combines = combination::merge, .fixed_size = false}));
static_assert(!split_all_gather::accepts({.combines = combination::sum}) && !split_all_gather::accepts({}));

TEST_CASE("exchange::split_all_gather is the dense sum, and sends what its supports say") {
  for_each_sparse_input(split_all_gather{}, [](std::vector<floats> const& g, std::vector<floats> const& sent,
                                               auto const& kept, auto const& method) {
    auto const step = average_once(g, method);
    auto const P = g.size(), n = g[0].size();
    CHECK(step.updates[0] == mean_in_order(sent));
    if (P != 9) CHECK(vanished(g, step) == 0.0);
    for (std::size_t r = 0; r < P; ++r)
      CHECK(step.bytes[r] ==
            bytes_of_split(kept, n, r) + 16 + 32 + summed_part(kept, n, r).bytes(slice_of(n, r, P).second));
    for (auto const m : step.messages) CHECK(m == 4);
  });
}

TEST_CASE("exchange::split_all_gather has the bits of all_gather, whatever the order of arrival") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (double const density : {0.01, 0.1, 0.4, 1.0}) {
      auto const g = gradients_of(P, 1000);
      auto const step = average_once(g, compress_with(top_k{.density = density}, error_feedback{}, split_all_gather{}));
      auto const gathered = average_once(g, compress_with(top_k{.density = density}, error_feedback{}));
      CHECK(step.updates[0] == gathered.updates[0]);
      CHECK(step.memories == gathered.memories);
    }
}

TEST_CASE("exchange::split_all_gather: several tensors travel in one message; any transport gives the same") {
  check_fused_and_derived(split_all_gather{});
}

TEST_CASE("exchange::split_all_gather: sums that overflow are an error") {
  CHECK_THROWS_AS(average_once({{3e38f, 1, 0, 0, 0}, {3e38f, 1, 0, 0, 0}},
                               compress_with(top_k{.density = 0.2}, error_feedback{}, split_all_gather{})),
                  non_finite_error);
}

TEST_CASE("exchange::split_all_gather: any damaged byte is one error on all ranks, and nothing has changed") {
  check_damage(split_all_gather{});
}

TEST_CASE("exchange::split_all_gather has a text form") { CHECK(describe(split_all_gather{}) == "split_all_gather"); }
