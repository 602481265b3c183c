// SPDX-License-Identifier: Apache-2.0
// predictive around every code that residuals can be sent by, at P = 1 to 9.

#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include "../support/method_table.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
/// Some ranks are silent in some steps: what fresh gradients have in common with past ones is little.
temporal_prediction const selective{.order = 2, .threshold = 0.999, .check_every = 2};
temporal_prediction const always{.order = 1, .threshold = 0};
template <class... P>
auto prediction_of(P const&... p) {
  return predictive(compress_with(p...), selective);
}
}  // namespace

TEST_CASE("method::predictive around every code") {
  std::vector<method_case> const all = {
      around(prediction_of()),
      exactly_around(predictive(compress_with(), always)),
      around(prediction_of(top_k{.density = 0.1})),
      exactly_around(predictive(compress_with(top_k{.density = 1}), always)),
      around(prediction_of(chunked_top_k{.density = 0.1, .chunk = 64})),
      around(prediction_of(sampled_top_k{.density = 0.1, .sample = 0.5})),
      around(prediction_of(gaussian_k{.density = 0.1})),
      around(prediction_of(sidco{.density = 0.1})),
      around(prediction_of(threshold{.tau = 0.3})),
      around(prediction_of(adacomp{.bin = 50})),
      loosely_around(prediction_of(atomo{.density = 0.3})),
      loosely_around(prediction_of(unbiased_sparsifier{.variance = 1})),
      loosely_around(prediction_of(unbiased_density{.density = 0.3})),
      around(prediction_of(own_random_k{.density = 0.1})),
      around(prediction_of(random_k{.density = 0.1})),
      exactly_around(predictive(compress_with(random_k{.density = 1}), always)),
      around(prediction_of(random_block{.density = 0.1})),
      around(prediction_of(top_k{.density = 0.1}, elias_fano{})),
      around(prediction_of(top_k{.density = 0.1}, bf16{})),
      around(prediction_of(bf16{})),
      around(prediction_of(fp16{})),
      around(prediction_of(log_quantizer{.bits = 4})),
      around(prediction_of(one_magnitude{})),
      around(prediction_of(sign{.block = 64})),
      loosely_around(prediction_of(sign_bits{})),
      loosely_around(prediction_of(stochastic_int{.bits = 4, .block = 64})),
      exactly_around(predictive(compress_with(), always, parameter_server<>{})),
      around(predictive(compress_with(top_k{.density = 0.1}), selective, parameter_server<>{})),
      around(predictive(compress_with(random_k{.density = 0.1}), selective, parameter_server<>{})),
  };
  CHECK(all.size() == 29);
  check_methods(all);
}
