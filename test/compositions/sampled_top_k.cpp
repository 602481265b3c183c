// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/sampled_top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of sampled_top_k") {
  tally count;
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, unquantized{}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, bf16{}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, fp16{}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, sign{.block = 32}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, ternary{}, count);
  check_feedbacks(identity{}, sampled_top_k{.density = 0.1}, log_quantizer{}, count);
  check_coded(sampled_top_k{.density = 0.1}, unquantized{}, smallest_index{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 36);
  CHECK(count.refused == 156);
}
