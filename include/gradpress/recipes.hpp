// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Published methods by their names, as compositions. Each is nothing but `compress_with`.

#include <gradpress/compressor.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/top_k.hpp>

namespace gradpress {

/// Top-k with error feedback (Aji and Heafield 2017; Stich et al. 2018).
constexpr auto top_k_sgd(double density = 0.01) { return compress_with(top_k{.density = density}, error_feedback{}); }
/// gTop-k S-SGD (Shi et al. 2019), with the memory that loses nothing.
constexpr auto gtop_k_sgd(double density = 0.01) {
  return compress_with(top_k{.density = density}, error_feedback{}, gtop_k{});
}
/// PowerSGD (Vogels et al. 2019), local memory rule.
constexpr auto power_sgd(int rank = 2) { return compress_with(low_rank{.rank = rank}, error_feedback{}); }
/// LQ-SGD (Li et al. 2025): PowerSGD with logarithmic codes on both factors.
constexpr auto lq_sgd(int rank = 2, int bits = 8) {
  return compress_with(low_rank{.rank = rank}, log_quantizer{.bits = bits}, error_feedback{});
}
/// QSGD (Alistarh et al. 2017), max norm and blocks.
constexpr auto qsgd(int bits = 4) { return compress_with(stochastic_int{.bits = bits}); }
/// EF-signSGD (Karimireddy et al. 2019), a scale a block.
constexpr auto ef_sign_sgd() { return compress_with(sign{}, error_feedback{}); }
/// TernGrad with scaler sharing (Wen et al. 2017).
constexpr auto tern_grad() { return compress_with(ternary{}); }

}  // namespace gradpress
