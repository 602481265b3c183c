// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of adacomp, and of its code") {
  tally count;
  check_feedbacks(identity{}, adacomp{.bin = 50}, one_magnitude{}, count);
  check_feedbacks(identity{}, adacomp{.bin = 50}, unquantized{}, count);
  check_feedbacks(identity{}, adacomp{.bin = 7}, bf16{}, count);
  check_feedbacks(identity{}, adacomp{.bin = 50}, stochastic_int{.bits = 8, .block = 64}, count);
  check_coded(adacomp{.bin = 50}, one_magnitude{}, smallest_index{}, count);
  check_feedbacks(identity{}, top_k{.density = 0.1}, one_magnitude{}, count);
  check_feedbacks(identity{}, select_all{}, one_magnitude{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 36);
  CHECK(count.refused == 129);
}
