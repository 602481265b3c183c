// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/leader_top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of leader_top_k") {
  tally count;
  check_feedbacks(identity{}, leader_top_k{.density = 0.1}, unquantized{}, count);
  check_feedbacks(identity{}, leader_top_k{.density = 0.1}, bf16{}, count);
  check_feedbacks(identity{}, leader_top_k{.density = 0.1}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, leader_top_k{.density = 0.1}, ternary{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, leader_top_k{.density = 0.5}, unquantized{}, count);
  check_feedbacks(low_rank{.rank = 2, .minimum_rate = 0}, leader_top_k{.density = 0.5}, ternary{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 33);
  CHECK(count.refused == 129);
}
