// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/by_kind.hpp>

#include <gradpress/compressor.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
/// What `by_kind` stands for in a composition.
template <class... P>
using chosen = decltype(compress_with(P{}...).exchange);
template <class X, class... P>
inline constexpr bool takes = std::same_as<chosen<P...>, X>&& std::same_as<chosen<P..., by_kind>, X>;
}  // namespace

// add up in float or integers
static_assert(takes<all_reduce>);
static_assert(takes<all_reduce, error_feedback>);
static_assert(takes<all_reduce, random_k, error_feedback>);
static_assert(takes<all_reduce, random_block, ef21>);
static_assert(takes<all_reduce, low_rank, error_feedback>);
static_assert(takes<all_reduce, ternary>);
static_assert(takes<all_reduce, ternary8, random_k, error_feedback>);
// add up in 16-bit floats, no memory
static_assert(takes<all_reduce, bf16>);
static_assert(takes<all_reduce, fp16, random_k>);
static_assert(takes<all_reduce, bf16, low_rank>);
// the same with a memory, dense
static_assert(takes<scatter_reduce, bf16, error_feedback>);
static_assert(takes<scatter_reduce, fp16, ef21>);
static_assert(takes<scatter_reduce, bf16, low_rank, error_feedback>);
// the same with a memory, sparse
static_assert(takes<all_gather, bf16, random_k, error_feedback>);
static_assert(takes<all_gather, fp16, random_block, ef21>);
// everything else
static_assert(takes<all_gather, top_k>);
static_assert(takes<all_gather, top_k, error_feedback>);
static_assert(takes<all_gather, threshold, error_feedback>);
static_assert(takes<all_gather, sign, error_feedback>);
static_assert(takes<all_gather, stochastic_int>);
static_assert(takes<all_gather, log_quantizer, low_rank, error_feedback>);
static_assert(takes<all_gather, top_k, bf16, error_feedback>);
static_assert(takes<all_gather, sign, random_k>);
static_assert(takes<all_gather, ternary, top_k>);

// A wish is never overruled.
static_assert(
    std::same_as<resolved_exchange<all_gather, message_kind{.combines = combination::sum}, false>, all_gather>);
static_assert(std::same_as<chosen<gtop_k, top_k>, gtop_k>);
static_assert(std::same_as<chosen<all_reduce, bf16, error_feedback>, all_reduce>);

TEST_CASE("exchange::by_kind shows what it stands for in the text form") {
  CHECK(compress_with(bf16{}, error_feedback{}).text() == "identity|all|bf16|error_feedback|scatter_reduce");
  CHECK(compress_with(top_k{}).text() == "identity|top_k(density=0.01)|none|none|all_gather");
  CHECK(compress_with().text() == "identity|all|none|none|all_reduce");
}
