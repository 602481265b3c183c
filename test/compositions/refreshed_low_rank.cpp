// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/gram_refreshed_low_rank.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of refreshed_low_rank and its Gram form with floats, casts and codes") {
  tally count;
  check_feedbacks(refreshed_low_rank{.rank = 2, .every = 3, .minimum_rate = 0}, select_all{}, unquantized{}, count);
  check_feedbacks(refreshed_low_rank{.rank = 2, .every = 3, .minimum_rate = 0}, select_all{}, bf16{}, count);
  check_feedbacks(refreshed_low_rank{.rank = 2, .every = 3, .minimum_rate = 0}, select_all{},
                  stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(refreshed_low_rank{.rank = 2, .every = 3, .minimum_rate = 0}, select_all{}, log_quantizer{}, count);
  check_feedbacks(gram_refreshed_low_rank{.rank = 2, .every = 3, .minimum_rate = 0}, select_all{}, unquantized{},
                  count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 39);
  CHECK(count.refused == 96);
}
