// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/chunked_top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of chunked_top_k") {
  tally count;
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, unquantized{}, count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, bf16{}, count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, fp16{}, count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, sign{.block = 32}, count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, stochastic_int{.bits = 8, .block = 64},
                  count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, ternary{}, count);
  check_feedbacks(identity{}, chunked_top_k{.density = 0.1, .chunk = 64}, log_quantizer{}, count);
  check_coded(chunked_top_k{.density = 0.1, .chunk = 64}, unquantized{}, smallest_index{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 45);
  CHECK(count.refused == 150);
}
