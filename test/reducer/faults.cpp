// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/faulty.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/threshold.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <sstream>
#include <string>

using namespace gradpress;

namespace {
constexpr std::size_t n = 600;

std::vector<float> gradient(int rank, int tensor) {
  std::vector<float> g(n);
  for (std::size_t i = 0; i < n; ++i) g[i] = key{static_cast<std::uint64_t>(rank * 100 + tensor)}.uniform(i) - 0.4f;
  return g;
}

template <class X>
auto some(X exchange) {
  return compress_with(top_k{.density = 0.05}, error_feedback{}, exchange);
}

/// A reducer with a tensor of every kind of exchange, over a communicator with planted faults.
struct trainer {
  faulty<thread_communicator> comm;
  reducer<gradpress::serial> r;
  std::vector<reducer<gradpress::serial>::tensor> handles;
  std::vector<std::vector<float>> g;

  trainer(thread_communicator c, faults f) : comm(c, std::move(f)), r(gradpress::serial{}, comm) {
    handles = {r.add("dense", n),
               r.add("gtop_k", n, 1, gtop_k_sgd(0.05)),
               r.add("gather", n, 1, some(gather_top_k{})),
               r.add("leader", n, 1, compress_with(leader_top_k{.density = 0.05}, error_feedback{})),
               r.add("low_rank", 30, 20, power_sgd()),
               r.add("lq", 20, 30, lq_sgd()),
               r.add("ternary", n, 1, tern_grad()),
               r.add("doubling", n, 1, some(recursive_doubling{})),
               r.add("split", n, 1, some(split_all_gather{})),
               r.add("split_dense", n, 1, some(split_dense{bf16{}})),
               r.add("ok_top_k", n, 1, some(ok_top_k{.rebalance = 1})),  // so that all steps make the same calls
               r.add("threshold", n, 1, compress_with(threshold{.tau = 0.3}, error_feedback{})),
               r.add("scatter", n, 1,
                     compress_with(stochastic_int{.bits = 4, .block = 64}, error_feedback{}, scatter_reduce{})),
               r.add("two_sided", n, 1, compress_with(bf16{}, error_feedback{}, two_sided{bf16{}, error_feedback{}})),
               r.add("server", n, 1, some(parameter_server{bf16{}, error_feedback{}})),
               r.add("vote", n, 1, compress_with(sign_bits{}, majority_vote{})),
               r.add("block", n, 1, compress_with(random_block{.density = 0.1}, ef21{}))};
  }
  void step() {
    g.clear();
    for (std::size_t t = 0; t < handles.size(); ++t) g.push_back(gradient(comm.rank(), static_cast<int>(t)));
    for (std::size_t t = 0; t < handles.size(); ++t) r.stage(handles[t], std::span(g[t]));
    r.average();
  }
  bool gradients_untouched() {
    for (std::size_t t = 0; t < handles.size(); ++t)
      if (std::memcmp(g[t].data(), gradient(comm.rank(), static_cast<int>(t)).data(), 4 * n) != 0) return false;
    return true;
  }
  /// All that a checkpoint keeps: memories, factors, thresholds, the step's number.
  std::string state() {
    std::ostringstream file;
    r.save(file);
    return file.str();
  }
};

/// A selector that throws on one rank.
struct moody {
  int rank_that_throws = 1;
  using family = family::selector;
  static constexpr std::string_view name = "moody";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  std::size_t max_kept(std::size_t m) const { return std::min<std::size_t>(m, 4); }
  template <class Exec>
  void select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    if (ctx.rank == rank_that_throws) throw std::runtime_error("not today");
    kept.count = max_kept(x.extent(0));
    for (index_t i = 0; i < kept.count; ++i) kept.indices(i) = i;
  }
};

long calls_of_a_step(int P) {
  std::atomic<long> calls{0};
  run_ranks(P, [&](thread_communicator& c) {
    trainer t(c, {});
    t.step();
    if (c.rank() == 0) calls = t.comm.calls();
  });
  return calls;
}
}  // namespace

TEST_CASE("reducer: a communicator that throws at its k-th call, for every k, on one rank or on all") {
  for (int P : {2, 3}) {
    auto const calls = calls_of_a_step(P);
    REQUIRE(calls > 10);
    for (long k = 0; k < calls; ++k)
      for (int culprit : {0, P - 1, -1}) {  // -1: all ranks
        CAPTURE(P);
        CAPTURE(k);
        CAPTURE(culprit);
        std::atomic<int> errors{0}, wrong{0};
        try {
          run_ranks(P, [&](thread_communicator& c) {
            bool const mine = culprit < 0 || c.rank() == culprit;
            trainer t(c, {.throws_at = mine ? calls + k : -1, .corrupts = {}});
            t.step();  // one good step, so that there are memories to lose
            auto const before = t.state();
            try {
              t.step();
            } catch (communicator_error const& e) {
              ++errors;
              std::string const what = e.what();
              if (what.find("gradpress: rank " + std::to_string(c.rank()) + ": the communicator failed in step 1") != 0)
                ++wrong;
              if (!t.gradients_untouched() || t.state() != before) ++wrong;
              throw;
            }
          });
        } catch (communicator_error const&) {
        }
        CHECK(errors == P);
        CHECK(wrong == 0);
      }
  }
}

TEST_CASE("reducer: damaged messages are one payload_error on all ranks, and nothing changed") {
  int const P = 3;
  auto const calls = calls_of_a_step(P);
  int detected = 0, harmless = 0;
  for (long k = 0; k < calls; ++k)
    for (std::size_t where : {3u, 17u, 40u, 77u}) {
      CAPTURE(k);
      CAPTURE(where);
      std::atomic<int> errors{0}, wrong{0}, passed{0};
      bool hit = false;
      auto const body = [&](thread_communicator& c) {
        auto const damage = [&, rank = c.rank()](long call, std::span<std::byte> in) {
          if (rank != 1 || call != calls + k || in.size() <= where) return;
          in[where] ^= std::byte{0x10};
          hit = true;
        };
        trainer t(c, {.throws_at = -1, .corrupts = damage});
        t.step();
        auto const before = t.state();
        try {
          t.step();
          ++passed;
        } catch (error const& e) {
          ++errors;
          if (std::string(e.what()).find("nothing was changed") == std::string::npos &&
              std::string(e.what()).find("Nothing was sent or changed") == std::string::npos)
            ++wrong;
          if (!t.gradients_untouched() || t.state() != before) ++wrong;
          if (dynamic_cast<communicator_error const*>(&e) != nullptr) throw;  // the transport is broken: leave it
        }
      };
      try {
        run_ranks(P, body, std::chrono::seconds(5));
      } catch (communicator_error const&) {
      }
      // Sums and agreed numbers carry no header: a bit flipped by the transport's own arithmetic is a wrong number that
      // no receiver can tell. Everything gathered or merged is checked, and the control messages compare unequal.
      CHECK((errors == 0 || errors == P || passed + errors == P));
      CHECK(wrong == 0);
      if (hit) ++(errors == P ? detected : harmless);
    }
  MESSAGE("detected on all ranks: ", detected, ", in headerless sums or one-sided control: ", harmless);
  CHECK(detected > 20);
}

TEST_CASE("reducer: an exception of one rank's own policy is an error on all ranks") {
  std::atomic<int> errors{0};
  run_ranks(4, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, compress_with(moody{}, error_feedback{}));
    auto g = gradient(c.rank(), 0);
    try {
      r.average(w, std::span(g));
    } catch (error const& e) {
      if (std::string(e.what()).find("rank 1: tensor 'w': not today") != std::string::npos &&
          g == gradient(c.rank(), 0))
        ++errors;
    }
  });
  CHECK(errors == 4);
}

TEST_CASE("reducer: a sum that overflows is an error on all ranks, and enters no memory") {
  std::atomic<int> errors{0}, wrong{0}, tensors{0};
  run_ranks(3, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    std::vector<float> g(n, 3e38f);
    std::vector const handles = {
        r.add("dense", n),
        r.add("block", n, 1, compress_with(random_block{.density = 0.5}, error_feedback{})),
        r.add("fp16", n, 1, compress_with(fp16{}, error_feedback{})),
        r.add("scatter", n, 1, compress_with(stochastic_int{.bits = 8}, error_feedback{}, scatter_reduce{})),
        r.add("doubling", n, 1, some(recursive_doubling{})),
        r.add("split", n, 1, some(split_all_gather{})),
        r.add("split_dense", n, 1, some(split_dense{})),
        r.add("rounded", n, 1, some(split_dense{bf16{}})),
        r.add("ok_top_k", n, 1, some(ok_top_k{})),
        r.add("two_sided", n, 1, compress_with(two_sided{bf16{}, error_feedback{}})),
        r.add("server", n, 1, some(parameter_server{.root = 1}))};
    tensors = static_cast<int>(handles.size());
    for (auto const& handle : handles) {
      try {
        r.average(handle, std::span(g));
        ++wrong;
      } catch (non_finite_error const&) {
        bool clean = g == std::vector<float>(n, 3e38f);
        r.visit(handle, [&](char const*, auto b) {
          for (std::size_t i = 0; i < b.extent(0); ++i) clean &= b(i) == 0.f;
        });
        ++(clean ? errors : wrong);
      }
    }
  });
  CHECK(errors == 3 * tensors);
  CHECK(wrong == 0);
}
