// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of random_k") {
  tally count;
  check_feedbacks(identity{}, random_k{.density = 0.05}, unquantized{}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, bf16{}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, fp16{}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, sign{.block = 32}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, ternary{}, count);
  check_feedbacks(identity{}, random_k{.density = 0.05}, log_quantizer{}, count);
  for (auto const scaled : {random_k{.density = 0.5, .scaled = true}, random_k{.density = 0.05, .scaled = true}}) {
    check_exchanges(identity{}, scaled, unquantized{}, no_feedback{}, count);
    check_exchanges(identity{}, scaled, unquantized{}, error_feedback{}, count);
  }
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 41);
  CHECK(count.refused == 184);
}
