// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Everything that needs no optional dependency. MPI: <gradpress/communicate/mpi.hpp>. Text form:
/// <gradpress/runtime/any_reducer.hpp>.

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/delayed.hpp>
#include <gradpress/communicate/faulty.hpp>
#include <gradpress/communicate/functions.hpp>
#include <gradpress/communicate/recording.hpp>
#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/compressor.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/metrics/csv.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/schedule/link.hpp>
#include <gradpress/schedule/merge_plan.hpp>
#include <gradpress/schedule/piecewise.hpp>
#include <gradpress/schedule/warm_up.hpp>
#include <gradpress/scope/scopes.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>
