// SPDX-License-Identifier: Apache-2.0
// How traffic grows with the number of ranks: what the pages of the exchanges say, held against what was counted.
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/lone_rank.hpp"
#include "../support/traffic.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 8192, k = 64, entry = 8;
constexpr double density = 64.0 / 8192;

/// Half of a gradient is common to all ranks.
floats gradient(int rank, int step) {
  return plus(heavy_tailed(n, 1), heavy_tailed(n, static_cast<std::uint64_t>(100 + 40 * step + rank)));
}
template <class X>
traffic of(int P, X exchange) {
  return traffic_of(P, n, compress_with(top_k{.density = density}, error_feedback{}, exchange), 10, gradient);
}
}  // namespace

TEST_CASE("exchange: received bytes grow as the pages say, for 2 to 16 ranks") {
  std::uint64_t gathered_16 = 0, ok_4 = 0, ok_16 = 0;
  for (int P = 2; P <= 16; ++P) {
    CAPTURE(P);
    auto const ranks = static_cast<std::size_t>(P);
    std::size_t up = 0, whole = 1;
    while ((std::size_t{1} << up) < ranks) ++up;
    while (2 * whole <= ranks) whole *= 2;
    bool const folds = whole != ranks;

    auto const gather = of(P, all_gather{});  // k P
    CHECK(gather.received == (ranks - 1) * (32 + entry * k));
    CHECK(gather.messages == 1);

    auto const tree = of(P, gtop_k{});  // k log P: rank 0 has most to receive, and as much to send
    CHECK(tree.received == up * (32 + entry * k));
    CHECK(tree.sent == up * (32 + entry * k));

    auto const doubling = of(P, recursive_doubling{});  // between k log P and k P
    std::size_t hops = 0;
    for (std::size_t p = 1; p < whole; p *= 2) ++hops;
    CHECK(doubling.received >= hops * (16 + 32 + 4 + entry * k));
    CHECK(doubling.received <= (hops + folds) * (16 + 32 + 4) + entry * k * (ranks - 1 + folds));
    CHECK(doubling.messages == 2 * (hops + folds));

    auto const split = of(P, split_all_gather{});  // entries once, then a union
    CHECK(split.received <= (ranks - 1) * (16 + 36 + 16 + 36) + entry * k * 2 * (ranks - 1));
    CHECK(split.messages == 4);

    auto const dense = of(P, split_dense{});  // a part from everyone, whatever the union
    auto const blocks = (ranks - 1) * (36 + 4 * ((n + ranks - 1) / ranks));
    CHECK(dense.received <= (ranks - 1) * (16 + 36) + entry * k * (ranks - 1) + blocks);
    CHECK(dense.messages == 3);

    // At most k entries a rank arrive in the first half, on average, and 2 k + P in the second: 6 k words. A rank whose
    // region is fuller than others receives more; how much depends on the data.
    auto const ok = of(P, ok_top_k{});
    auto const heads = (ranks - 1) * (16 + 36 + 12 + 36) + entry * ranks;
    CHECK(ok.mean_received <= static_cast<double>(6 * 4 * k + heads));
    CHECK(ok.received <= 7 * 4 * k + heads);
    CHECK(ok.messages == 4);
    if (P == 4) ok_4 = ok.received - 3 * 100;
    if (P == 16) ok_16 = ok.received - 15 * 100, gathered_16 = gather.received;
    MESSAGE("P = ", P, ": received by all_gather ", gather.received, ", gtop_k ", tree.received,
            ", recursive_doubling ", doubling.received, ", split_all_gather ", split.received, ", ok_top_k ",
            ok.received);
  }
  CHECK(ok_16 < 2 * ok_4);  // does not grow with P but for headers
  CHECK(ok_16 + 15 * 100 < gathered_16 / 2);
}
