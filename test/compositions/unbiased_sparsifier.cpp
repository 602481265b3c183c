// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("every legal composition of unbiased_sparsifier") {
  tally count;
  check_feedbacks(identity{}, unbiased_sparsifier{.variance = 1}, unquantized{}, count);
  check_feedbacks(identity{}, unbiased_sparsifier{.variance = 1}, bf16{}, count);
  check_feedbacks(identity{}, unbiased_sparsifier{.variance = 1}, stochastic_int{.bits = 8, .block = 64}, count);
  check_feedbacks(identity{}, unbiased_density{.density = 0.1}, unquantized{}, count);
  check_coded(unbiased_sparsifier{.variance = 1}, unquantized{}, smallest_index{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
  CHECK(count.legal == 39);
  CHECK(count.refused == 72);
}
