// SPDX-License-Identifier: Apache-2.0
// Every memory with every projector, alone and before selectors and quantizers, at P = 1 to 9.

#include <gradpress/project/alternating_low_rank.hpp>
#include <gradpress/project/gram_refreshed_low_rank.hpp>
#include <gradpress/project/identity.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/project/random_projection.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>
#include <gradpress/project/spectral_atomo.hpp>
#include <gradpress/project/square_view.hpp>
#include <gradpress/project/svd.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("memories: every one with every projector") {
  memory_table t;
  t.check(
      {exactly_by(identity{}), compressed_by(low_rank{.rank = 2}), compressed_by(low_rank{.rank = 1, .iterations = 2}),
       compressed_by(refreshed_low_rank{.rank = 2, .every = 3}),
       compressed_by(gram_refreshed_low_rank{.rank = 2, .every = 3}), compressed_by(alternating_low_rank{.rank = 2}),
       compressed_by(random_projection{.rank = 2}), compressed_by(square_view{low_rank{.rank = 2}}),
       compressed_by(svd{.rank = 2}), compressed_by(spectral_atomo{.budget = 3})});
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 10 * 12);
}

TEST_CASE("memories: every one with projectors before selectors and quantizers") {
  memory_table t;
  t.check({compressed_by(low_rank{.rank = 2}, bf16{}), compressed_by(low_rank{.rank = 2}, log_quantizer{}),
           compressed_by(low_rank{.rank = 2}, ternary{}), compressed_by(low_rank{.rank = 2}, top_k{.density = 0.3}),
           compressed_by(low_rank{.rank = 2}, random_k{.density = 0.3}),
           compressed_by(svd{.rank = 2}, stochastic_int{.bits = 8, .block = 64})});
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 6 * 12);
}
