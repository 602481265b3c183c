// SPDX-License-Identifier: Apache-2.0
// Every memory with every quantizer, on all entries and behind selectors, at P = 1 to 9.

#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memory_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("memories: every one with every quantizer") {
  memory_table t;
  t.check({exactly_by(unquantized{}), compressed_by(bf16{}), compressed_by(fp16{}),
           compressed_by(log_quantizer{.bits = 4}), compressed_by(one_magnitude{}), compressed_by(sign{.block = 64}),
           compressed_by(sign_bits{}), compressed_by(stochastic_int{.bits = 4, .block = 64}),
           compressed_by(stochastic_int{.bits = 8, .block = 128, .mode = rounding::nearest}), compressed_by(ternary{}),
           compressed_by(ternary8{})});
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 11 * 12);
}

TEST_CASE("memories: every one with quantizers behind selectors of each kind") {
  memory_table t;
  t.check({compressed_by(top_k{.density = 0.1}, bf16{}), compressed_by(top_k{.density = 0.1}, sign{.block = 32}),
           compressed_by(top_k{.density = 0.1}, ternary{}),
           compressed_by(threshold{.tau = 0.3}, stochastic_int{.bits = 8, .block = 64}),
           compressed_by(random_k{.density = 0.1}, bf16{}), compressed_by(random_k{.density = 0.1}, ternary{})});
  MESSAGE(t.pairs(), " pairs");
  CHECK(t.pairs() == 6 * 12);
}
