// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/select/atomo.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of atomo") {
  tally count;
  check_feedbacks(identity{}, atomo{.density = 0.1}, unquantized{}, count);
  check_feedbacks(identity{}, atomo{.density = 0.1}, fp16{}, count);
  check_feedbacks(identity{}, atomo{.density = 0.1}, sign{.block = 32}, count);
  check_coded(atomo{.density = 0.1}, unquantized{}, smallest_index{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 24);
  CHECK(count.refused == 60);
}
