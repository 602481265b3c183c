// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/composition.hpp>

#include <gradpress/compressor/compose.hpp>
#include <gradpress/exchange/automatic.hpp>
#include <gradpress/exchange/scatter_reduce.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/momentum_correction.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/lone_rank.hpp"

using namespace gradpress;
using gradpress::test::host;

namespace {
template <class... P>
using of = detail::composition<host, decltype(compress_with(P{}...))>;

using plain = of<>;
static_assert(plain::steps == 1 && plain::direct && plain::dense && !plain::has_memory && !plain::merges);
static_assert(!plain::fuses_select && !plain::fuses_form && !plain::fuses_quantize && !plain::fuses_project);
static_assert(of<top_k, automatic>::can_go_dense && !of<top_k>::can_go_dense && of<low_rank>::can_go_dense);

// A memory that is added: selector, quantizer or projector does it in its own pass.
using sparse = of<top_k, error_feedback>;
static_assert(sparse::has_memory && sparse::has_addend && sparse::merges && !sparse::dense);
static_assert(sparse::fuses_select && !sparse::fuses_form && !sparse::fuses_quantize && !sparse::fuses_project);
using coded = of<sign, error_feedback>;
static_assert(coded::fuses_quantize && !coded::fuses_select && !coded::merges);
using factors = of<low_rank, error_feedback>;
static_assert(!factors::direct && factors::dense && factors::fuses_project && factors::defers);

// One that is not: selectors make the signal piece by piece.
static_assert(!of<top_k, ef21>::has_addend && !of<top_k, ef21>::fuses_select && of<top_k, ef21>::fuses_form);
static_assert(!of<sign, ef21>::fuses_quantize && !of<low_rank, ef21>::fuses_project && !of<low_rank, ef21>::defers);
static_assert(of<top_k, momentum_correction>::keeps_by_position && !sparse::keeps_by_position);

// Without a memory nothing is added; behind a projector coefficients are no signal; not every selector adds.
static_assert(!of<top_k>::fuses_select && !of<sign>::fuses_quantize && !of<low_rank>::fuses_project);
static_assert(!of<low_rank, top_k, error_feedback>::fuses_select);
static_assert(!of<random_block, error_feedback>::fuses_select);

// A phase more for a leader, one more for an agreement; chunks are cut by the exchange.
static_assert(of<leader_top_k>::steps == 2 && !of<leader_top_k>::merges);
static_assert(of<sign, scatter_reduce>::chunked && !coded::chunked);
}  // namespace

TEST_CASE("what follows from a composition is known when it compiles") { CHECK(sparse::steps == 1); }
