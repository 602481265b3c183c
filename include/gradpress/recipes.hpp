// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Published methods by their names, as compositions. Each is nothing but `compress_with`.

#include <gradpress/compressor.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/diana.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/ef21_sgdm.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/local_momentum.hpp>
#include <gradpress/feedback/loco.hpp>
#include <gradpress/feedback/momentum_correction.hpp>
#include <gradpress/project/alternating_low_rank.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/top_k.hpp>

namespace gradpress {

/// Top-k with error feedback (Aji and Heafield 2017; Stich et al. 2018).
constexpr auto top_k_sgd(double density = 0.01) { return compress_with(top_k{.density = density}, error_feedback{}); }
/// gTop-k S-SGD (Shi et al. 2019), with the memory that loses nothing.
constexpr auto gtop_k_sgd(double density = 0.01) {
  return compress_with(top_k{.density = density}, error_feedback{}, gtop_k{});
}
/// Ok-Topk SGD (Li and Hoefler 2022): the top-k of the sum, in traffic that does not grow with P; thresholds are reused
/// for 32 steps.
constexpr auto ok_top_k_sgd(double density = 0.01) {
  return compress_with(reused_top_k{.density = density}, error_feedback{}, ok_top_k{});
}
/// ScaleCom (Chen et al. 2020): ranks take turns in choosing what all send.
constexpr auto scale_com(double density = 0.01) {
  return compress_with(leader_top_k{.density = density}, error_feedback{});
}
/// AdaComp (Chen et al. 2018), in one magnitude a tensor.
constexpr auto ada_comp(std::uint32_t bin = 500) { return compress_with(adacomp{.bin = bin}, error_feedback{}); }
/// PowerSGD (Vogels et al. 2019), local memory rule.
constexpr auto power_sgd(int rank = 2) { return compress_with(low_rank{.rank = rank}, error_feedback{}); }
/// PowerSGD+ (Xie et al. 2025): a dense step every so many, from which the basis is taken anew.
constexpr auto power_sgd_plus(int rank = 2, int every = 50) {
  return compress_with(refreshed_low_rank{.rank = rank, .every = every}, error_feedback{});
}
/// ACP-SGD (Zhang et al. 2023): PowerSGD's factors in turn, one a step.
constexpr auto acp_sgd(int rank = 2) { return compress_with(alternating_low_rank{.rank = rank}, error_feedback{}); }
/// LQ-SGD (Li et al. 2025): PowerSGD with logarithmic codes on both factors.
constexpr auto lq_sgd(int rank = 2, int bits = 8) {
  return compress_with(low_rank{.rank = rank}, log_quantizer{.bits = bits}, error_feedback{});
}
/// QSGD (Alistarh et al. 2017), max norm and blocks.
constexpr auto qsgd(int bits = 4) { return compress_with(stochastic_int{.bits = bits}); }
/// EF-signSGD (Karimireddy et al. 2019), a scale a block.
constexpr auto ef_sign_sgd() { return compress_with(sign{}, error_feedback{}); }
/// dist-EF-SGD's exchange (Zheng, Huang, Kwok 2019): scaled signs up and down, and a memory at each end. Under the
/// optimizer `dist_ef_sgd` both are in units of the model.
constexpr auto dist_ef_sign_sgd() {
  return compress_with(sign{}, error_feedback{}, two_sided{sign{}, error_feedback{}});
}
/// signSGD with majority vote (Bernstein et al. 2019): the update is a sign an entry.
constexpr auto sign_sgd() { return compress_with(sign_bits{}, majority_vote{}); }
/// Signum with majority vote: each rank votes by its own momentum.
constexpr auto signum_vote(double beta = 0.9) {
  return compress_with(sign_bits{}, local_momentum{.beta = beta}, majority_vote{});
}
/// Deep Gradient Compression (Lin et al. 2018): momentum before a sampled top-k. The optimizer adds none of its own.
constexpr auto deep_gradient_compression(double density = 0.001, double momentum = 0.9) {
  return compress_with(sampled_top_k{.density = density}, momentum_correction{.momentum = momentum});
}
/// EF21 (Richtarik, Sokolov, Fatkhullin 2021) with top-k.
constexpr auto ef21_top_k(double density = 0.01) { return compress_with(top_k{.density = density}, ef21{}); }
/// EF21-SGDM (Fatkhullin, Tyurin, Richtarik 2023) with top-k.
constexpr auto ef21_sgdm_top_k(double density = 0.01, double eta = 0.1) {
  return compress_with(top_k{.density = density}, ef21_sgdm{.eta = eta});
}
/// DIANA (Mishchenko et al. 2019) with unbiased codes of a few bits.
constexpr auto diana_qsgd(int bits = 4, double alpha = 0.1) {
  return compress_with(stochastic_int{.bits = bits}, diana{.alpha = alpha});
}
/// LoCo (Xie et al. 2024): 4 bits through a scatter-reduce, and a memory of one byte an element.
constexpr auto loco_int4(double beta = 0.8) {
  return compress_with(stochastic_int{.bits = 4}, loco{.beta = beta}, scatter_reduce{});
}
/// TernGrad with scaler sharing (Wen et al. 2017).
constexpr auto tern_grad() { return compress_with(ternary{}); }

}  // namespace gradpress
