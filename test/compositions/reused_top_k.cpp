// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/reused_top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of reused_top_k") {
  tally count;
  reused_top_k const often{.density = 0.1, .period = 4};
  check_feedbacks(identity{}, often, unquantized{}, count);
  check_feedbacks(identity{}, often, sign{.block = 32}, count);
  check_feedbacks(identity{}, often, ternary{}, count);
  check_coded(often, unquantized{}, smallest_index{}, count);
  check_if_legal(low_rank{.rank = 2, .minimum_rate = 0}, often, unquantized{}, error_feedback{}, all_gather{}, count);
  check_if_legal(low_rank{.rank = 2, .minimum_rate = 0}, often, unquantized{}, error_feedback{}, ok_top_k{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 26);
  CHECK(count.refused == 60);
}
