// SPDX-License-Identifier: Apache-2.0
// Every memory with every selector, and with index codes, at P = 1 to 9.

#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("memories: top_k") {
  memory_table t;
  t.check(compressed_by(top_k{.density = 0.1}));
  t.check(exactly_by(top_k{.density = 1}));
  MESSAGE(t.pairs());
}
