// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/compressor.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/loco.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/project/svd.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

using namespace gradpress;

#if defined(CASE_NOT_A_POLICY)  // expect: compress_with: every argument must be a policy
auto const method = compress_with(top_k{}, 3);
#elif defined(CASE_TWICE)                     // expect: compress_with: two policies of the same family
auto const method = compress_with(top_k{}, threshold{});
#elif defined(CASE_ALL_REDUCE_OWN_SUPPORT)    // expect: all_reduce: these messages do not add up
auto const method = compress_with(top_k{}, all_reduce{});
#elif defined(CASE_ALL_REDUCE_CODES)          // expect: all_reduce: these messages do not add up
auto const method = compress_with(stochastic_int{}, all_reduce{});
#elif defined(CASE_GTOP_K_QUANTIZED)          // expect: gtop_k: merges sparse float streams of fixed size
auto const method = compress_with(top_k{}, stochastic_int{}, gtop_k{});
#elif defined(CASE_GTOP_K_VARIABLE)           // expect: gtop_k: merges sparse float streams of fixed size
auto const method = compress_with(threshold{}, gtop_k{});
#elif defined(CASE_GTOP_K_DENSE)              // expect: gtop_k: merges sparse float streams of fixed size
auto const method = compress_with(gtop_k{});
#elif defined(CASE_GTOP_K_CODED)              // expect: gtop_k: merges sparse float streams of fixed size
auto const method = compress_with(top_k{}, bitmap_index{}, gtop_k{});
#elif defined(CASE_GATHER_TOP_K_CODED)        // expect: gather_top_k: adds sparse float streams of fixed size
auto const method = compress_with(top_k{}, elias_fano{}, gather_top_k{});
#elif defined(CASE_OK_TOP_K_CODED)            // expect: ok_top_k: adds sparse floats
auto const method = compress_with(top_k{}, local_index{}, ok_top_k{});
#elif defined(CASE_DOUBLING_CODED)            // expect: recursive_doubling: adds sparse floats
auto const method = compress_with(top_k{}, smallest_index{}, recursive_doubling{});
#elif defined(CASE_SPLIT_CODED)               // expect: split_all_gather: adds sparse floats
auto const method = compress_with(threshold{}, elias_fano{}, split_all_gather{});
#elif defined(CASE_SPLIT_DENSE_CODED)         // expect: split_dense: adds sparse floats
auto const method = compress_with(top_k{}, bitmap_index{}, split_dense{});
#elif defined(CASE_ALL_REDUCE_CODED_INDICES)  // expect: all_reduce: these messages do not add up
auto const method = compress_with(top_k{}, elias_fano{}, all_reduce{});
#elif defined(CASE_CODED_WITHOUT_INDICES)  // expect: compress_with: an index code needs a selector with its own support
auto const method = compress_with(random_k{}, elias_fano{});
#elif defined(CASE_GATHER_TOP_K_QUANTIZED)  // expect: gather_top_k: adds sparse float streams of fixed size
auto const method = compress_with(top_k{}, stochastic_int{}, gather_top_k{});
#elif defined(CASE_GATHER_TOP_K_VARIABLE)   // expect: gather_top_k: adds sparse float streams of fixed size
auto const method = compress_with(threshold{}, gather_top_k{});
#elif defined(CASE_FRESH_PROJECTED)         // expect: compress_with: this selector compares the signal with
auto const method = compress_with(adacomp{}, low_rank{}, error_feedback{});
#elif defined(CASE_SCATTER_SPARSE)          // expect: scatter_reduce: cuts dense messages into chunks
auto const method = compress_with(random_block{}, scatter_reduce{});
#elif defined(CASE_SCATTER_AGREED)          // expect: scatter_reduce: cuts dense messages into chunks
auto const method = compress_with(ternary{}, scatter_reduce{});
#elif defined(CASE_TWO_SIDED_SPARSE)        // expect: two_sided: cuts dense messages into chunks
auto const method = compress_with(top_k{}, two_sided{});
#elif defined(CASE_TWO_SIDED_AGREED)        // expect: two_sided: 'down' must be a quantizer that needs no agreement
auto const method = compress_with(two_sided{.down = ternary{}});
#elif defined(CASE_TWO_SIDED_MEMORY)        // expect: two_sided: 'memory' must be error_feedback or no_feedback
auto const method = compress_with(two_sided{.down = stochastic_int{}, .memory = ef21{}});
#elif defined(CASE_TWO_SIDED_PROJECTED)     // expect: compress_with: this exchange remembers coefficients
auto const method = compress_with(low_rank{}, two_sided{.down = stochastic_int{}, .memory = error_feedback{}});
#elif defined(CASE_SERVER_NOT_LINEAR)       // expect: parameter_server: averages coefficients at one rank
auto const method = compress_with(svd{}, parameter_server{});
#elif defined(CASE_SERVER_AGREED)           // expect: parameter_server: 'down' must be a quantizer that needs
auto const method = compress_with(parameter_server{.down = ternary{}});
#elif defined(CASE_SERVER_MEMORY)           // expect: parameter_server: 'memory' must be error_feedback or no_feedback
auto const method = compress_with(parameter_server{.down = stochastic_int{}, .memory = ef21{}});
#elif defined(CASE_VOTE_WITHOUT_BITS)       // expect: majority_vote: counts the signs of all entries
auto const method = compress_with(stochastic_int{}, majority_vote{});
#elif defined(CASE_VOTE_SPARSE)             // expect: majority_vote: counts the signs of all entries
auto const method = compress_with(top_k{}, sign_bits{}, majority_vote{});
#elif defined(CASE_VOTE_REMEMBERED)         // expect: of what the ranks sent, so a memory cannot know what is missing
auto const method = compress_with(sign_bits{}, error_feedback{}, majority_vote{});
#elif defined(CASE_VOTE_MIRRORED)           // expect: of what the ranks sent, so a memory cannot know what is missing
auto const method = compress_with(sign_bits{}, ef21{}, majority_vote{});
#elif defined(CASE_VOTE_FADING)             // expect: of what the ranks sent, so a memory cannot know what is missing
auto const method = compress_with(sign_bits{}, loco{}, majority_vote{});
#elif defined(CASE_SERVER_PROJECTED)        // expect: compress_with: this exchange remembers coefficients
auto const method = compress_with(low_rank{}, parameter_server{.down = stochastic_int{}, .memory = error_feedback{}});
#elif defined(CASE_VOTE_PROJECTED)          // expect: of what the ranks sent, element by element; use it without a
auto const method = compress_with(low_rank{}, sign_bits{}, majority_vote{});
#elif defined(CASE_DOUBLING_QUANTIZED)      // expect: recursive_doubling: adds sparse floats
auto const method = compress_with(top_k{}, stochastic_int{}, recursive_doubling{});
#elif defined(CASE_DOUBLING_DENSE)          // expect: recursive_doubling: adds sparse floats
auto const method = compress_with(recursive_doubling{});
#elif defined(CASE_OK_TOP_K_QUANTIZED)      // expect: ok_top_k: adds sparse floats
auto const method = compress_with(threshold{}, stochastic_int{}, ok_top_k{});
#elif defined(CASE_SPLIT_QUANTIZED)         // expect: split_all_gather: adds sparse floats
auto const method = compress_with(top_k{}, stochastic_int{}, split_all_gather{});
#elif defined(CASE_SPLIT_DENSE_QUANTIZED)   // expect: split_dense: adds sparse floats
auto const method = compress_with(top_k{}, stochastic_int{}, split_dense{});
#elif defined(CASE_SPLIT_DENSE_AGREED)      // expect: split_dense: 'last' must be a quantizer that needs no agreement
auto const method = compress_with(top_k{}, split_dense{ternary{}});
#else
static_assert(std::same_as<decltype(compress_with(threshold{}, recursive_doubling{}).exchange), recursive_doubling>);
[[maybe_unused]] auto const method = compress_with(gtop_k{}, error_feedback{}, top_k{.density = 0.1});
[[maybe_unused]] auto const both_ways =
    compress_with(stochastic_int{}, error_feedback{}, two_sided{.down = stochastic_int{}, .memory = error_feedback{}});
[[maybe_unused]] auto const served =
    compress_with(low_rank{}, error_feedback{}, parameter_server{.down = stochastic_int{}, .root = 1});
[[maybe_unused]] auto const votes = compress_with(sign_bits{}, majority_vote{.ties = tie::zero});
static_assert(std::same_as<decltype(compress_with(top_k{}).exchange), all_gather>);
static_assert(std::same_as<decltype(compress_with(ternary{}).exchange), all_reduce>);
static_assert(std::same_as<decltype(compress_with().exchange), all_reduce>);
#endif
