// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/alternating_low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of alternating_low_rank with floats, casts and codes") {
  tally count;
  check_feedbacks(alternating_low_rank{.rank = 2, .minimum_rate = 0}, select_all{}, unquantized{}, count);
  check_feedbacks(alternating_low_rank{.rank = 2, .minimum_rate = 0}, select_all{}, bf16{}, count);
  check_feedbacks(alternating_low_rank{.rank = 2, .minimum_rate = 0}, select_all{},
                  stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(alternating_low_rank{.rank = 2, .minimum_rate = 0}, select_all{}, log_quantizer{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 30);
  CHECK(count.refused == 78);
}
