// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/recording.hpp>
#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>

#include <doctest/doctest.h>

#include "../support/lone_rank.hpp"

#include <map>

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t rows = 500, cols = 600, n = rows * cols;  // several chunks of every kernel

/// Everything that three steps of one rank leave behind.
struct traces {
  std::map<std::string, floats> updates, memories;
  std::vector<std::vector<std::byte>> messages;
};
template <class Exec>
traces leave(Exec exec) {
  traces all;
  recording comm{self_communicator{}};
  reducer r{exec, comm, {.seed = 17}};
  std::map<std::string, typename reducer<Exec>::tensor> tensors;
  auto const add = [&](std::string const& name, auto const& method) {
    tensors[name] = r.add(name, rows, cols, method);
  };
  add("dense", compress_with());
  add("bf16 ef", compress_with(bf16{}, error_feedback{}));
  add("top_k ef", top_k_sgd(0.01));
  add("gtop_k ef", gtop_k_sgd(0.001));
  add("threshold", compress_with(threshold{.tau = 0.9}));
  add("random_k ef21", compress_with(random_k{}, ef21{}));
  add("random_block ef", compress_with(random_block{}, error_feedback{}));
  add("top_k int8 ef", compress_with(top_k{}, stochastic_int{}, error_feedback{}));
  add("sign ef", ef_sign_sgd());
  add("int4", qsgd(4));
  add("ternary", tern_grad());
  add("powersgd", power_sgd(4));
  add("lq", lq_sgd());
  add("sign both ways", compress_with(sign{}, error_feedback{}, two_sided{sign{}, error_feedback{}}));
  add("top_k served", compress_with(top_k{}, error_feedback{}, parameter_server{sign{}, error_feedback{}}));
  add("vote", compress_with(sign_bits{}, majority_vote{}));
  add("int8 scatter", compress_with(stochastic_int{}, error_feedback{}, scatter_reduce{}));
  for (std::uint64_t s = 0; s < 3; ++s) {
    for (auto const& [name, t] : tensors) {
      all.updates[name] = heavy_tailed(n, s + 1);
      r.stage(t, std::span(all.updates[name]));
    }
    r.average();
  }
  for (auto const& [name, t] : tensors)
    r.visit(t, [&](char const* part, auto const& b) { all.memories[name + ' ' + part] = copied(b); });
  for (auto const& e : comm.log()) all.messages.push_back(e.sent);
  return all;
}
}  // namespace

TEST_CASE("reducer: every execution space sends, delivers and remembers the same bits") {
  using other = Kokkos::DefaultHostExecutionSpace;
  CAPTURE(other::name());
  CAPTURE(other{}.concurrency());
  auto const one = leave(gradpress::serial{}), many = leave(other{});
  for (auto const& [name, update] : one.updates) {
    CAPTURE(name);
    CHECK(identical(update, many.updates.at(name)));
  }
  REQUIRE(one.memories.size() > 8);
  for (auto const& [name, memory] : one.memories) {
    CAPTURE(name);
    CHECK(identical(memory, many.memories.at(name)));
  }
  REQUIRE(one.messages.size() > 3);
  CHECK(one.messages == many.messages);
}

TEST_CASE("reducer: a space that this thread cannot use is an error in words") {
  using other = Kokkos::DefaultHostExecutionSpace;
  run_ranks(2, [](thread_communicator& c) {
    std::string said;
    try {
      reducer r{other{}, c};
    } catch (configuration_error const& e) {
      said = e.what();
    }
    if (usable_here<other>() != said.empty()) throw std::runtime_error("said: " + said);
    if (!said.empty() && said.find("gradpress::serial") == said.npos) throw std::runtime_error("no remedy: " + said);
  });
}
