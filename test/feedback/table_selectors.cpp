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
  t.check(exactly_by(select_all{}));
  t.check(compressed_by(top_k{.density = 0.1}));
  t.check(exactly_by(top_k{.density = 1}));
  t.check(compressed_by(chunked_top_k{.density = 0.1, .chunk = 64}));
  t.check(exactly_by(chunked_top_k{.density = 1, .chunk = 64}));
  t.check(compressed_by(sampled_top_k{.density = 0.1, .sample = 0.5}));
  t.check(compressed_by(gaussian_k{.density = 0.1}));
  t.check(compressed_by(sidco{.density = 0.1}));
  t.check(compressed_by(threshold{.tau = 0.3}));
  t.check(exactly_by(threshold{.tau = 0}));
  t.check(compressed_by(adacomp{.bin = 50}));
  t.check(compressed_by(atomo{.density = 0.3}));
  t.check(compressed_by(unbiased_sparsifier{.variance = 1}));
  t.check(compressed_by(unbiased_density{.density = 0.3}));
  t.check(compressed_by(own_random_k{.density = 0.1}));
  t.check(exactly_by(own_random_k{.density = 1}));
  t.check(compressed_by(random_k{.density = 0.1}));
  t.check(compressed_by(random_k{.density = 0.5, .scaled = true}));
  t.check(exactly_by(random_k{.density = 1}));
  t.check(compressed_by(random_block{.density = 0.1}));
  t.check(exactly_by(random_block{.density = 1}));
  t.check(compressed_by(leader_top_k{.density = 0.1}));
  t.check(exactly_by(leader_top_k{.density = 1}));
  t.check(compressed_by(top_k{.density = 0.1}, elias_fano{}));
  t.check(compressed_by(threshold{.tau = 0.3}, bitmap_index{}));
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 25 * 12);
}
