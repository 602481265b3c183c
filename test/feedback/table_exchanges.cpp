// SPDX-License-Identifier: Apache-2.0
// Every memory over every exchange of whole messages, for one compressor of each kind of message, at P = 1 to 9.

#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/exchange/all_reduce.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/project/svd.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
using way = way_of<all_gather, all_reduce, gtop_k, gather_top_k, recursive_doubling, split_all_gather, split_dense<>,
                   split_dense<bf16>, parameter_server<>, parameter_server<bf16>>;
std::vector<way> const ways = {all_gather{},
                               all_reduce{},
                               gtop_k{},
                               gather_top_k{},
                               recursive_doubling{},
                               split_all_gather{},
                               split_dense<>{},
                               split_dense{bf16{}},
                               parameter_server<>{},
                               parameter_server{.down = bf16{}}};
}  // namespace

TEST_CASE("memories: every one over every exchange that gathers, sums or merges whole messages") {
  memory_table t;
  int refused = 0;
  t.check(over_ways(ways, refused));
  t.check(over_ways(ways, refused, sign{.block = 64}));
  t.check(over_ways(ways, refused, ternary{}));
  t.check(over_ways(ways, refused, top_k{.density = 0.1}));
  t.check(over_ways(ways, refused, threshold{.tau = 0.3}));
  t.check(over_ways(ways, refused, random_k{.density = 0.1}));
  t.check(over_ways(ways, refused, low_rank{.rank = 2}));
  t.check(over_ways(ways, refused, svd{.rank = 2}));
  MESSAGE(t.pairs(), " pairs, ", refused, " exchanges refuse");
  CHECK(t.pairs() == 36 * 12);
  CHECK(refused == 44);
}
