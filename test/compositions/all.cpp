// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of all") {
  tally count;
  check_feedbacks(identity{}, select_all{}, unquantized{}, count);
  check_feedbacks(identity{}, select_all{}, bf16{}, count);
  check_feedbacks(identity{}, select_all{}, fp16{}, count);
  check_feedbacks(identity{}, select_all{}, sign{.block = 32}, count);
  check_feedbacks(identity{}, select_all{}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, select_all{}, ternary{}, count);
  check_feedbacks(identity{}, select_all{}, log_quantizer{}, count);
  check_served(identity{}, select_all{}, sign{.block = 32}, two_sided{.down = bf16{}}, count);
  check_served(identity{}, select_all{}, unquantized{}, parameter_server{.down = sign{.block = 32}}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 55);
  CHECK(count.refused == 138);
}
