// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/random_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of own_random_k") {
  tally count;
  check_feedbacks(identity{}, own_random_k{.density = 0.05}, unquantized{}, count);
  check_feedbacks(identity{}, own_random_k{.density = 0.05}, bf16{}, count);
  check_feedbacks(identity{}, own_random_k{.density = 0.05}, sign{.block = 32}, count);
  check_feedbacks(identity{}, own_random_k{.density = 0.05}, stochastic_int{.bits = 8, .block = 64}, count);
  check_coded(own_random_k{.density = 0.05}, unquantized{}, smallest_index{}, count);
  check_exchanges(identity{}, own_random_k{.density = 0.5, .scaled = true}, unquantized{}, no_feedback{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 44);
  CHECK(count.refused == 80);
}
