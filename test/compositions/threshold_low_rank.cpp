// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/threshold.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of threshold behind low_rank") {
  tally count;
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, unquantized{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, bf16{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, fp16{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, sign{.block = 32}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, stochastic_int{.bits = 8, .block = 64},
                  count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, ternary{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, threshold{.tau = 0.3}, log_quantizer{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 33);
  CHECK(count.refused == 156);
}
