// SPDX-License-Identifier: Apache-2.0
// Every memory with every selector, and with index codes, at P = 1 to 9.

#include <gradpress/encode/bitmap_index.hpp>
#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/all.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("memories: every one with every selector") {
  memory_table t;
  t.check({exactly_by(select_all{}),
           compressed_by(top_k{.density = 0.1}),
           exactly_by(top_k{.density = 1}),
           compressed_by(chunked_top_k{.density = 0.1, .chunk = 64}),
           exactly_by(chunked_top_k{.density = 1, .chunk = 64}),
           compressed_by(sampled_top_k{.density = 0.1, .sample = 0.5}),
           compressed_by(gaussian_k{.density = 0.1}),
           compressed_by(reused_top_k{.density = 0.1, .period = 3}),
           compressed_by(sidco{.density = 0.1}),
           compressed_by(threshold{.tau = 0.3}),
           exactly_by(threshold{.tau = 0}),
           compressed_by(adacomp{.bin = 50}),
           compressed_by(atomo{.density = 0.3}),
           compressed_by(unbiased_sparsifier{.variance = 1}),
           compressed_by(unbiased_density{.density = 0.3}),
           compressed_by(own_random_k{.density = 0.1}),
           exactly_by(own_random_k{.density = 1}),
           compressed_by(random_k{.density = 0.1}),
           compressed_by(random_k{.density = 0.5, .scaled = true}),
           exactly_by(random_k{.density = 1}),
           compressed_by(random_block{.density = 0.1}),
           exactly_by(random_block{.density = 1}),
           compressed_by(leader_top_k{.density = 0.1}),
           exactly_by(leader_top_k{.density = 1}),
           compressed_by(top_k{.density = 0.1}, elias_fano{}),
           compressed_by(threshold{.tau = 0.3}, bitmap_index{})});
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 26 * 12);
}
