// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of top_k") {
  tally count;
  check_feedbacks(identity{}, top_k{.density = 0.05}, unquantized{}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, bf16{}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, fp16{}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, sign{.block = 32}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, ternary{}, count);
  check_feedbacks(identity{}, top_k{.density = 0.05}, log_quantizer{}, count);
  check_served(identity{}, top_k{.density = 0.05}, unquantized{}, parameter_server{.down = bf16{}}, count);
  check_served(identity{}, top_k{.density = 0.05}, sign{.block = 32}, parameter_server{.down = bf16{}}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 46);
  CHECK(count.refused == 150);
}
