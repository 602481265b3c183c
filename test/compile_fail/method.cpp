// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/method/ef21_plus.hpp>
#include <gradpress/method/predictive.hpp>

#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/top_k.hpp>

using namespace gradpress;

#if defined(CASE_PREDICTIVE_MEMORY)  // expect: predictive: what the code loses is in the next residual already
auto const method = predictive(compress_with(top_k{}, error_feedback{}));
#elif defined(CASE_PREDICTIVE_PROJECTED)  // expect: predictive: residuals are coded element by element
auto const method = predictive(compress_with(low_rank{}));
#elif defined(CASE_PREDICTIVE_LED)        // expect: predictive: each rank is silent by itself
auto const method = predictive(compress_with(leader_top_k{}));
#elif defined(CASE_PREDICTIVE_AGREED)     // expect: predictive: codes must be decoded one by one
auto const method = predictive(compress_with(ternary{}));
#elif defined(CASE_PREDICTIVE_MERGED)     // expect: predictive: the code has no exchange of its own
auto const method = predictive(compress_with(top_k{}, gtop_k{}));
#elif defined(CASE_PREDICTIVE_CHUNKED)    // expect: predictive: needs an exchange that brings whole messages
auto const method = predictive(compress_with(), {}, scatter_reduce{});
#elif defined(CASE_PREDICTIVE_TWICE)      // expect: predictive: goes around one method that compress_with makes
auto const method = predictive(predictive(compress_with(top_k{})));
#elif defined(CASE_PREDICTIVE_RECALLING)  // expect: predictive: the code is not told which steps stand
auto const method = predictive(compress_with(reused_top_k{}));
#elif defined(CASE_EF21_PLUS_RECALLING)   // expect: ef21_plus: the code is not told which steps stand
auto const method = ef21_plus(compress_with(reused_top_k{}));
#elif defined(CASE_EF21_PLUS_MEMORY)      // expect: ef21_plus: what the code loses is in the next difference already
auto const method = ef21_plus(compress_with(top_k{}, error_feedback{}));
#elif defined(CASE_EF21_PLUS_PROJECTED)   // expect: ef21_plus: codes are compared element by element
auto const method = ef21_plus(compress_with(low_rank{}));
#elif defined(CASE_EF21_PLUS_LED)         // expect: ef21_plus: the better of two codes is sent
auto const method = ef21_plus(compress_with(leader_top_k{}));
#elif defined(CASE_EF21_PLUS_DRAWN)       // expect: ef21_plus: the better of two codes is sent
auto const method = ef21_plus(compress_with(own_random_k{}));
#elif defined(CASE_EF21_PLUS_AGREED)      // expect: ef21_plus: codes must be decoded one by one
auto const method = ef21_plus(compress_with(ternary{}));
#elif defined(CASE_EF21_PLUS_MERGED)      // expect: ef21_plus: the code has no exchange of its own
auto const method = ef21_plus(compress_with(top_k{}, gtop_k{}));
#elif defined(CASE_EF21_PLUS_CHUNKED)     // expect: ef21_plus: needs an exchange that brings whole messages
auto const method = ef21_plus(compress_with(), {}, scatter_reduce{});
#elif defined(CASE_EF21_PLUS_TWICE)       // expect: ef21_plus: goes around one method that compress_with makes
auto const method = ef21_plus(predictive(compress_with(top_k{})));
#else
[[maybe_unused]] auto const sparse = predictive(compress_with(top_k{}, stochastic_int{}, elias_fano{}), {.order = 3});
[[maybe_unused]] auto const dense = predictive(compress_with());
[[maybe_unused]] auto const nearer = ef21_plus(compress_with(top_k{}, elias_fano{}));
static_assert(concepts::method<decltype(sparse)> && concepts::method<decltype(dense)> &&
              concepts::method<decltype(nearer)> && !concepts::method<top_k>);
#endif
