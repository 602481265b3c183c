// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
template <class I>
void check_values(I i, tally& count) {
  top_k const some{.density = 0.05};
  check_coded(some, unquantized{}, i, count);
  check_coded(some, stochastic_int{.bits = 8, .block = 64}, i, count);
  check_coded(threshold{.tau = 0.5}, bf16{}, i, count);
}
}  // namespace

TEST_CASE("every index code, with floats and codes, of fixed and variable size, with every memory") {
  tally count;
  check_values(local_index{}, count);
  check_values(bitmap_index{}, count);
  check_values(elias_fano{}, count);
  check_values(smallest_index{}, count);
  check_coded(top_k{.density = 0.05}, ternary{}, elias_fano{}, count);
  MESSAGE("legal: ", count.legal, ", refused: ", count.refused);
}
