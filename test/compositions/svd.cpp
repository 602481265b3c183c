// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/svd.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/stochastic_int.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of svd with floats, casts and codes") {
  tally count;
  check_feedbacks(svd{.rank = 2}, select_all{}, unquantized{}, count);
  check_feedbacks(svd{.rank = 2}, select_all{}, bf16{}, count);
  check_feedbacks(svd{.rank = 2}, select_all{}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(svd{.rank = 2}, select_all{}, log_quantizer{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 12);
  CHECK(count.refused == 96);
}
