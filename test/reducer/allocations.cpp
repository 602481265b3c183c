// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/exchange/automatic.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/method/ef21_plus.hpp>
#include <gradpress/method/predictive.hpp>
#include <gradpress/project/random_projection.hpp>
#include <gradpress/project/square_view.hpp>
#include <gradpress/project/svd.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/schedule/piecewise.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/threshold.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <ctime>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_ALLOCATIONS 0
#endif
#endif
#if !defined(COUNTS_ALLOCATIONS) && defined(__GLIBC__)
#define COUNTS_ALLOCATIONS 1
#endif

#if COUNTS_ALLOCATIONS
#include <sys/syscall.h>
#include <unistd.h>
// Whoever asks for the time comes through here.
static std::atomic<long> clock_readings{0};
extern "C" int clock_gettime(clockid_t which, timespec* now) noexcept {
  ++clock_readings;
  return static_cast<int>(syscall(SYS_clock_gettime, which, now));
}
// Everything in this program that asks for memory comes through here: new, Kokkos, the standard library.
static std::atomic<long> allocations{0};
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t n) { return ++allocations, __libc_malloc(n); }
void* calloc(std::size_t m, std::size_t n) { return ++allocations, __libc_calloc(m, n); }
void* realloc(void* p, std::size_t n) { return ++allocations, __libc_realloc(p, n); }
void* memalign(std::size_t a, std::size_t n) { return ++allocations, __libc_memalign(a, n); }
void* aligned_alloc(std::size_t a, std::size_t n) { return ++allocations, __libc_memalign(a, n); }
int posix_memalign(void** p, std::size_t a, std::size_t n) {
  ++allocations;
  *p = __libc_memalign(a, n);
  return *p == nullptr ? ENOMEM : 0;
}
}
#endif

using namespace gradpress;

TEST_CASE("reducer: no allocation after the first step") {
#if COUNTS_ALLOCATIONS
  static constexpr std::size_t n = 200 * 1000;  // several chunks
  auto const steps = [](auto& comm) {
    reducer r{gradpress::serial{}, comm};
    std::vector<reducer<gradpress::serial>::tensor> const t = {
        r.add("dense", n),
        r.add("bf16", n, 1, compress_with(bf16{})),
        r.add("bf16ef", n, 1, compress_with(bf16{}, error_feedback{})),
        r.add("topk", n, 1, top_k_sgd(0.01)),
        r.add("gtopk", n, 1, gtop_k_sgd(0.001)),
        r.add("gather_top_k", n, 1, compress_with(top_k{}, error_feedback{}, gather_top_k{})),
        r.add("leader_top_k", n, 1, compress_with(leader_top_k{}, error_feedback{})),
        r.add("block", n, 1, compress_with(random_block{}, error_feedback{})),
        r.add("randomk", n, 1, compress_with(random_k{}, ef21{})),
        r.add("threshold", n, 1, compress_with(threshold{.tau = 0.49})),
        r.add("powersgd", 400, 500, power_sgd()),
        r.add("powersgd_plus", 400, 500, power_sgd_plus(2, 2)),
        r.add("acp", 400, 500, acp_sgd()),
        r.add("svd", 400, 500, compress_with(svd{}, error_feedback{})),
        r.add("square", n, 1, compress_with(square_view<>{}, error_feedback{})),
        r.add("projection", 400, 500, compress_with(random_projection{})),
        r.add("lq", 400, 500, lq_sgd()),
        r.add("int4", n, 1, qsgd(4)),
        r.add("scatter", n, 1, compress_with(stochastic_int{}, error_feedback{}, scatter_reduce{})),
        r.add("sign", n, 1, ef_sign_sgd()),
        r.add("ternary", n, 1, tern_grad()),
        r.add("two_sided", n, 1, compress_with(sign{}, error_feedback{}, two_sided{sign{}, error_feedback{}})),
        r.add("server", n, 1, compress_with(top_k{}, error_feedback{}, parameter_server{sign{}, error_feedback{}, 0})),
        r.add("vote", n, 1, compress_with(sign_bits{}, majority_vote{tie::random})),
        r.add("predicted", n, 1, predictive(compress_with(top_k{}), {.order = 2, .check_every = 1})),
        r.add("nearer", n, 1, ef21_plus(compress_with(top_k{}), {.check_every = 1}))};
    r.follow(t[3], "density", piecewise{{{0, 0.05}, {1, 0.01}}});  // changes in the second step, then no more
    r.follow(t[17], "bits", constant{4});
    std::vector<std::vector<float>> g(t.size(), std::vector<float>(n));
    long before = 0;
    for (int s = 0; s < 4; ++s) {
      for (auto& v : g)
        for (std::size_t i = 0; i < n; ++i)
          v[i] = key{static_cast<std::uint64_t>(comm.rank() + 1)}.uniform(i) -
                 0.5f;  // the same in each step: the same counts
      std::byte token{}, all[4];
      comm.all_gather({&token, 1}, {all, static_cast<std::size_t>(comm.size())});
      if (s == 2) before = allocations;  // the first step, and what grew in it, are over
      for (std::size_t i = 0; i < t.size(); ++i) r.stage(t[i], std::span(g[i]));
      r.average();
    }
    auto const together = [&] { comm.all_gather(std::span<std::byte const>{}, std::span<std::byte>{}); };
    together();
    auto const made = allocations - before;
    together();  // nobody takes his reducer down while another still counts
    return made;
  };
  self_communicator alone;
  CHECK(steps(alone) == 0);
  CHECK(allocations > 100);  // the first step's were seen
  run_ranks(2, [&](thread_communicator& c) {
    auto const m = steps(c);
    if (m != 0)
      throw std::runtime_error("rank " + std::to_string(c.rank()) + " saw " + std::to_string(m) + " allocations");
  });
#else
  MESSAGE("SKIP: allocations can be counted with glibc and without sanitizers only");
#endif
}

TEST_CASE("reducer: no allocation after the first step, wherever sparse entries go") {
#if COUNTS_ALLOCATIONS
  static constexpr std::size_t n = 200 * 1000;
  // Which entries are large changes from step to step: all over the tensor in the first two, then all in one part.
  auto const fill = [](std::vector<float>& g, int rank, int step) {
    auto const from = static_cast<std::size_t>(step % 4) * n / 4;
    for (std::size_t i = 0; i < n; ++i) {
      g[i] = key{static_cast<std::uint64_t>(100 * step + rank)}.uniform(i) - 0.5f;
      if (step >= 2 && i >= from && i < from + n / 4) g[i] *= 1000.f;
    }
  };
  auto const check_of = [&](auto& comm, int from, auto exchange, auto select) {
    reducer r{gradpress::serial{}, comm, {.link = link_costs{{1e-5, 1e-9}, {1e-5, 1e-9}}}};
    std::vector<reducer<gradpress::serial>::tensor> t;
    for (double const density : {0.001, 0.02, 0.3})
      t.push_back(r.add(std::to_string(density), n, 1, compress_with(select(density), error_feedback{}, exchange)));
    std::vector<std::vector<float>> g(t.size(), std::vector<float>(n));
    auto const together = [&] { comm.all_gather(std::span<std::byte const>{}, std::span<std::byte>{}); };
    for (int s = 0; s < from + 5; ++s) {
      for (auto& v : g) fill(v, comm.rank(), s);
      together();
      long const before = allocations;
      together();
      for (std::size_t i = 0; i < t.size(); ++i) r.stage(t[i], std::span(g[i]));
      r.average();
      together();
      long const made = allocations - before;
      together();
      if (s >= from && made != 0)
        throw std::runtime_error(std::string(exchange.name) + " on " + std::to_string(comm.size()) +
                                 " ranks: " + std::to_string(made) + " allocations in step " + std::to_string(s));
    }
  };
  auto const check = [&](auto& comm, int from, auto exchange) {
    check_of(comm, from, exchange, [](double d) { return top_k{.density = d}; });
  };
  for (int P : {1, 2, 3})
    run_ranks(P, [&](thread_communicator& c) {
      check(c, 1, recursive_doubling{});
      check(c, 1, split_all_gather{});
      check(c, 1, split_dense{});
      check(c, 1, split_dense{bf16{}});
      check(c, 1, ok_top_k{.period = 3, .rebalance = 4});
      check_of(c, 1, ok_top_k{.period = 3, .rebalance = 4},
               [](double d) { return reused_top_k{.density = d, .period = 2}; });
      check(c, 4, automatic{});  // it chooses in the fourth step
    });
#else
  MESSAGE("SKIP: allocations can be counted with glibc and without sanitizers only");
#endif
}

TEST_CASE("reducer: watching allocates nothing after the first step; not watching reads no clock for any tensor") {
#if COUNTS_ALLOCATIONS
  static constexpr std::size_t n = 200 * 1000;
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  std::vector<reducer<gradpress::serial>::tensor> const t = {
      r.add("topk", n, 1, top_k_sgd(0.01)), r.add("powersgd", 400, 500, power_sgd()),
      r.add("block", n, 1, compress_with(random_block{}, error_feedback{})), r.add("ternary", n, 1, tern_grad())};
  std::vector<float> g(n);
  struct cost {
    long memory, clock;
  };
  auto const step = [&](std::size_t tensors) {
    cost const before = {allocations, clock_readings};
    for (std::size_t i = 0; i < tensors; ++i) {
      for (std::size_t j = 0; j < n; ++j) g[j] = key{1}.uniform(j) - 0.5f;
      r.stage(t[i], std::span(g));  // one gradient for all is good enough here
    }
    r.average();
    return cost{allocations - before.memory, clock_readings - before.clock};
  };
  step(4), step(4);
  auto const of_two = step(2), of_four = step(4);
  CHECK(of_four.memory == 0);
  CHECK(of_four.clock == of_two.clock);  // both have two phases; nothing is read a tensor
  CHECK(of_four.clock > 0);              // the clock is seen: the statistics' own stages

  int told = 0;
  for (auto const& one : t) r.watch(one, [&](measurement const&) { ++told; }, {.assumption = true});
  step(4);
  auto const watched = step(4);
  CHECK(watched.memory == 0);
  CHECK(watched.clock > of_four.clock);
  CHECK(told == 8);
  for (auto const& one : t) r.watch(one, nullptr);
  auto const after = step(4);
  CHECK(after.memory == 0);
  CHECK(after.clock == of_four.clock);
#else
  MESSAGE("SKIP: allocations can be counted with glibc and without sanitizers only");
#endif
}
