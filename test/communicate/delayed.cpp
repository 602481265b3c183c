// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/delayed.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/threads.hpp>

using namespace gradpress;

namespace {
void close(double got, double expected, char const* what) {
  test::demand(std::abs(got - expected) <= 1e-12 * std::max(1.0, expected), what);
}
}  // namespace

TEST_CASE("communicate::delayed keeps the promises of what it wraps, and composes") {
  for (int P : {1, 2, 5})
    run_ranks(P, [](thread_communicator& c) {
      delayed slow{counting{c}, 1.0, 1.0};
      test::check_communicator(slow);
      test::demand((slow.simulated_seconds() > 0) == (c.size() > 1), "time passes where there are others");
      test::demand(slow.inner().calls() > 0, "the inner one is used");
    });
}

TEST_CASE("communicate::delayed charges the documented cost of each operation") {
  for (int P : {2, 5, 8})
    run_ranks(P, [P](thread_communicator& c) {
      double const alpha = 3, beta = 0.25, rounds = P == 2 ? 1 : 3, others = P - 1;
      delayed slow{c, alpha, beta};
      auto const charged = [&](double expected, char const* what) {
        close(slow.simulated_seconds(), expected, what);
        slow.reset();
      };
      auto const ranks = static_cast<std::size_t>(P);
      std::vector<std::byte> mine(12), all(12 * ranks), in(12);
      slow.all_gather(mine, all);
      charged(rounds * alpha + others * 12 * beta, "all_gather");
      std::vector<std::size_t> sizes(ranks, 12);
      slow.all_gather_v(mine, sizes, all);
      charged(rounds * alpha + others * 12 * beta, "all_gather_v");
      std::vector<float> x(30);
      slow.all_reduce_sum(std::span(x));
      charged(2 * rounds * alpha + 2 * others / P * 120 * beta, "all_reduce_sum");
      slow.all_reduce_max(std::span(x));
      charged(2 * rounds * alpha + 2 * others / P * 120 * beta, "all_reduce_max");
      std::vector<std::byte> back(12 * ranks);
      slow.all_to_all(all, back);
      charged(others * alpha + others * 12 * beta, "all_to_all");
      slow.send_recv((c.rank() + 1) % P, mine, (c.rank() + P - 1) % P, in);
      charged(alpha + 12 * beta, "send_recv, both ways at once");
      slow.send_recv(c.rank() == 0 ? 1 : -1, mine, c.rank() == 1 ? 0 : -1, in);
      charged(c.rank() < 2 ? alpha + 12 * beta : 0, "send_recv, nobody");
      delayed derived{test::gather_only<thread_communicator>{c}, alpha, beta};
      collective::room_t room;
      collective::all_reduce_sum(derived, std::span(x), room);
      close(derived.simulated_seconds(), rounds * alpha + others * 120 * beta, "derived: an all_gather");
    });
}

TEST_CASE("communicate::delayed waits only if asked to") {
  run_ranks(2, [](thread_communicator& c) {
    auto const timed = [&](bool wait) {
      delayed slow{c, 0.02, 0.0, wait};
      std::vector<std::byte> mine(1), all(2);
      auto const start = std::chrono::steady_clock::now();
      for (int i = 0; i < 5; ++i) slow.all_gather(mine, all);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    test::demand(timed(true) >= 0.1, "five times 20 ms");
    delayed ages{c, 1e6, 0.0};
    std::vector<std::byte> mine(1), all(2);
    ages.all_gather(mine, all);
    test::demand(ages.simulated_seconds() == 1e6, "not waited for");
  });
}
