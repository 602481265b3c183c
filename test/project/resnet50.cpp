// SPDX-License-Identifier: Apache-2.0
// The 161 tensors of ResNet-50, with an eighth of its channels: how they travel together.
#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/reducer.hpp>

#include "../support/matrices.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
using extents = std::vector<std::size_t>;

std::vector<extents> resnet50() {
  constexpr std::size_t part = 8;
  std::vector<extents> all;
  auto const convolution = [&](std::size_t out, std::size_t in, std::size_t k) {
    all.push_back({out / part, in < part ? in : in / part, k, k});
    all.push_back({out / part}), all.push_back({out / part});  // weight and bias of the normalisation after it
  };
  convolution(64, 3, 7);
  std::size_t in = 64;
  std::size_t const blocks[] = {3, 4, 6, 3};
  for (std::size_t stage = 0; stage < 4; ++stage)
    for (std::size_t b = 0; b < blocks[stage]; ++b) {
      auto const planes = std::size_t{64} << stage;
      convolution(planes, in, 1), convolution(planes, planes, 3), convolution(4 * planes, planes, 1);
      if (b == 0) convolution(4 * planes, in, 1);
      in = 4 * planes;
    }
  all.push_back({1000 / part, 2048 / part});
  all.push_back({1000 / part});
  return all;
}

struct traffic {
  std::uint64_t messages, whole, bytes;
};
/// Of one step, the second.
template <class Method>
traffic of_a_step(Method const& method) {
  traffic seen{};
  auto const tensors = resnet50();
  REQUIRE(tensors.size() == 161);
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    std::vector<reducer<gradpress::serial>::tensor> t;
    std::vector<floats> g;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      t.push_back(r.add(std::to_string(i), tensors[i], method));
      std::size_t n = 1;
      for (auto const e : tensors[i]) n *= e;
      g.emplace_back(n);
    }
    for (std::uint64_t s = 0; s < 2; ++s) {
      r.reset_statistics();
      for (std::size_t i = 0; i < t.size(); ++i) {
        auto const k = key{s}.with(i).with(static_cast<std::uint64_t>(c.rank()));
        for (std::size_t j = 0; j < g[i].size(); ++j) g[i][j] = k.uniform(j) - 0.5f;
        r.stage(t[i], std::span(g[i]));
      }
      r.average();
    }
    if (c.rank() == 0) seen = {r.stats().messages, r.stats().sent_dense, r.stats().bytes_sent};
  });
  return seen;
}
std::uint64_t bytes_of(std::size_t rank, bool alternating) {
  std::uint64_t floats_sent = 0;
  for (auto const& t : resnet50()) {
    std::size_t cols = 1;
    for (std::size_t i = 1; i < t.size(); ++i) cols *= t[i];
    auto const r = std::min({rank, t[0], cols});
    if (r * (t[0] + cols) >= t[0] * cols)
      floats_sent += (t[0] * cols + 15) / 16 * 16;  // whole; lane padding below makes it a bound
    else
      floats_sent += alternating ? r * std::max(t[0], cols) + 15 : r * (t[0] + cols) + 30;
  }
  return 4 * floats_sent;
}
}  // namespace

TEST_CASE("project: ResNet-50's 161 tensors travel in two messages a step, in one where factors take turns") {
  auto const power = of_a_step(power_sgd(2));
  CHECK(power.messages == 2);  // what travels whole shares the first
  CHECK(power.whole >= 107);   // the normalisations and the bias
  CHECK(power.bytes <= bytes_of(2, false));
  auto const turns = of_a_step(acp_sgd(2));
  CHECK(turns.messages == 1);
  CHECK(turns.whole == power.whole);
  CHECK(turns.bytes < power.bytes);
  CHECK(turns.bytes <= bytes_of(2, true));
  auto const plus = of_a_step(power_sgd_plus(2, 100));
  CHECK(plus.messages == 2);
  CHECK(plus.bytes == power.bytes);
  auto const coded = of_a_step(lq_sgd(2));  // codes are gathered; what travels whole is summed
  CHECK(coded.messages == 3);
  CHECK(coded.bytes < power.bytes);
}
