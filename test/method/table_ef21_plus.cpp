// SPDX-License-Identifier: Apache-2.0
// ef21_plus around every code that two estimates can be compared by, at P = 1 to 9.

#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/method_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
keep_or_restart const checked{.check_every = 2};
template <class... P>
auto plus_of(P const&... p) {
  return ef21_plus(compress_with(p...), checked);
}
}  // namespace

TEST_CASE("method::ef21_plus around every code") {
  std::vector<method_case> const all = {
      exactly_around(plus_of()),
      around(plus_of(top_k{.density = 0.1})),
      exactly_around(plus_of(top_k{.density = 1})),
      around(plus_of(chunked_top_k{.density = 0.1, .chunk = 64})),
      around(plus_of(sampled_top_k{.density = 0.1, .sample = 0.5})),
      around(plus_of(gaussian_k{.density = 0.1})),
      around(plus_of(sidco{.density = 0.1})),
      around(plus_of(threshold{.tau = 0.3})),
      around(plus_of(top_k{.density = 0.1}, elias_fano{})),
      around(plus_of(top_k{.density = 0.1}, bf16{})),
      around(plus_of(bf16{})),
      around(plus_of(fp16{})),
      around(plus_of(log_quantizer{.bits = 4})),
      around(plus_of(one_magnitude{})),
      around(plus_of(sign{.block = 64})),
      loosely_around(plus_of(sign_bits{})),
      loosely_around(plus_of(stochastic_int{.bits = 4, .block = 64})),
      exactly_around(ef21_plus(compress_with(), checked, parameter_server<>{})),
      around(ef21_plus(compress_with(top_k{.density = 0.1}), checked, parameter_server<>{})),
      around(ef21_plus(compress_with(sign{.block = 64}), checked, parameter_server<>{})),
  };
  CHECK(all.size() == 20);
  check_methods(all);
}
