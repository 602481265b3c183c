// SPDX-License-Identifier: Apache-2.0
// Every memory over every exchange in chunks, and over those that remember, weigh or vote themselves, at P = 1 to 9.

#include <gradpress/exchange/automatic.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/scatter_reduce.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
using chunked_way = way_of<scatter_reduce, two_sided<>, two_sided<bf16>>;
std::vector<chunked_way> const chunked_ways = {scatter_reduce{}, two_sided<>{}, two_sided{.down = bf16{}}};
}  // namespace

TEST_CASE("memories: every one over every exchange in chunks") {
  memory_table t;
  int refused = 0;
  t.check(over_ways(chunked_ways, refused));
  t.check(over_ways(chunked_ways, refused, bf16{}));
  t.check(over_ways(chunked_ways, refused, sign{.block = 64}));
  t.check(over_ways(chunked_ways, refused, low_rank{.rank = 2}));
  MESSAGE(t.pairs(), " pairs, ", refused, " exchanges refuse");
  CHECK(t.pairs() == 12 * 12);
  CHECK(refused == 0);
}

TEST_CASE("memories: every one over exchanges that remember, weigh or vote themselves") {
  memory_table t;
  two_sided const remembers_chunks{.down = sign{.block = 64}, .memory = error_feedback{}};
  parameter_server const remembers_all{.down = sign{.block = 64}, .memory = error_feedback{}};
  t.check({compressed_by(remembers_chunks), compressed_by(sign{.block = 64}, remembers_chunks),
           compressed_by(top_k{.density = 0.1}, remembers_all),
           compressed_by(top_k{.density = 0.1}, ok_top_k{.period = 2, .rebalance = 3}),
           compressed_by(top_k{.density = 0.1}, automatic{}), compressed_by(sign_bits{}, majority_vote{})});
  MESSAGE(t.pairs(), " pairs, ", t.refused(), " refused");
  CHECK(t.pairs() == 5 * 12 + 2);
  CHECK(t.refused() == 10);
}
