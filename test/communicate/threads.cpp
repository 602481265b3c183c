// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/threads.hpp>

#include "../support/communicator_laws.hpp"

#include <atomic>
#include <functional>
#include <mutex>

using namespace gradpress;
using namespace std::chrono_literals;

static_assert(concepts::has_all_gather_v<thread_communicator> && concepts::has_all_reduce_max<thread_communicator>);
static_assert(concepts::has_send_recv<thread_communicator> && concepts::has_all_to_all<thread_communicator>);
static_assert(concepts::has_all_reduce_sum<thread_communicator, bfloat16> &&
              !concepts::has_all_reduce_sum<thread_communicator, unsigned>);
static_assert(concepts::has_abandon<thread_communicator>);

TEST_CASE("communicate::threads gives what the operations promise, for every world size") {
  for (int P : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
    CAPTURE(P);
    run_ranks(P, [](thread_communicator& c) { test::check_communicator(c); });
  }
}

TEST_CASE("communicate::threads releases everybody when one rank fails") {
  std::atomic<int> released{0};
  auto const start = std::chrono::steady_clock::now();
  CHECK_THROWS_WITH_AS(run_ranks(5,
                                 [&](thread_communicator& c) {
                                   if (c.rank() == 3) throw std::runtime_error("out of coffee");
                                   try {
                                     std::byte mine{}, all[5];
                                     c.all_gather({&mine, 1}, all);
                                   } catch (communicator_error const& e) {
                                     if (std::string(e.what()) == "rank 3 gave up: out of coffee") ++released;
                                     throw;
                                   }
                                 }),
                       "out of coffee", std::runtime_error);
  CHECK(released == 4);
  CHECK(std::chrono::steady_clock::now() - start < 20s);
}

TEST_CASE("communicate::threads names the rank that never comes") {
  std::string what;
  try {
    run_ranks(
        3,
        [](thread_communicator& c) {
          std::byte mine{}, all[3];
          if (c.rank() != 1) c.all_gather({&mine, 1}, all);
        },
        300ms);
  } catch (communicator_error const& e) {
    what = e.what();
  }
  CHECK(what.find("waited 300 ms in vain for rank 1;") != std::string::npos);
}

namespace {
/// Runs body on 4 ranks, which must all end in the same communicator_error, and must be able to go on after it.
std::string common_error(std::function<void(thread_communicator&)> const& body) {
  std::mutex mutex;
  std::vector<std::string> errors;
  std::atomic<int> went_on{0};
  run_ranks(
      4,
      [&](thread_communicator& c) {
        try {
          body(c);
        } catch (communicator_error const& e) {
          std::lock_guard const lock(mutex);
          errors.emplace_back(e.what());
        }
        std::byte const mine{7};
        std::byte all[4];
        c.all_gather({&mine, 1}, all);
        if (all[0] == mine && all[3] == mine) ++went_on;
      },
      2s);
  CHECK(went_on == 4);
  CHECK(errors == std::vector<std::string>(4, errors.empty() ? "no error" : errors[0]));
  return errors.empty() ? "no error" : errors[0];
}
}  // namespace

TEST_CASE(
    "communicate::threads: what does not fit together is the same error on all ranks, and the group stays whole") {
  using sizes = std::vector<std::size_t>;
  using buffer = std::vector<std::byte>;
  CHECK(common_error([](auto& c) {
          buffer mine(c.rank() == 2 ? 5 : 4), all(4 * mine.size());
          c.all_gather(mine, all);
        }) == "all_gather: rank 0 has 4 bytes, rank 2 has 5");
  CHECK(common_error([](auto& c) {
          buffer mine(4), all(c.rank() == 3 ? 12 : 16);
          c.all_gather(mine, all);
        }) == "rank 3: all_gather: 'all' must hold size() messages as long as 'mine'");
  CHECK(common_error([](auto& c) {
          buffer mine(4), all(16);
          c.rank() == 1 ? c.all_to_all(mine, mine) : c.all_gather(mine, all);
        }) == "rank 0 calls all_gather, rank 1 calls all_to_all");
  CHECK(common_error([](auto& c) {
          float x[2] = {};
          std::int32_t k[2] = {};
          c.rank() == 1 ? c.all_reduce_sum(std::span<std::int32_t>(k)) : c.all_reduce_sum(std::span<float>(x));
        }) == "rank 0 calls all_reduce_sum of float, rank 1 calls all_reduce_sum of int32");
  CHECK(common_error([](auto& c) {
          std::vector<float> x(c.rank() == 3 ? 7 : 6);
          c.all_reduce_max(std::span(x));
        }) == "all_reduce_max: rank 0 has 24 bytes, rank 3 has 28");
  CHECK(common_error([](auto& c) {
          buffer mine(4), all(c.rank() == 0 ? 17 : 16);
          c.all_gather_v(mine, c.rank() == 0 ? sizes{4, 5, 4, 4} : sizes{4, 4, 4, 4}, all);
        }) == "all_gather_v: rank 1 sends 4 bytes where rank 0 was told 5");
  CHECK(common_error([](auto& c) {
          buffer mine(4), all(16);
          c.all_gather_v(mine, c.rank() == 2 ? sizes{4, 4, 4} : sizes{4, 4, 4, 4}, all);
        }) ==
        "rank 2: all_gather_v: needs a size for each rank, 'mine' as long as its own, and 'all' as long as their sum");
  CHECK(common_error([](auto& c) {
          buffer out(6), in(6);
          c.all_to_all(out, in);
        }) == "rank 0: all_to_all: 'out' must be size() equal blocks, and 'in' as long as 'out'");
  CHECK(common_error([](auto& c) {
          buffer out(4), in(4);
          c.send_recv(-1, out, c.rank() == 0 ? 1 : -1, in);
        }) == "send_recv: rank 0 expects 4 bytes from rank 1, which sends 4 to rank -1");
  CHECK(common_error([](auto& c) {
          buffer out(4), in(c.rank() == 2 ? 3 : 4);
          c.send_recv((c.rank() + 1) % 4, out, (c.rank() + 3) % 4, in);
        }) == "send_recv: rank 2 expects 3 bytes from rank 1, which sends 4 to rank 2");
  CHECK(common_error([](auto& c) {
          buffer out(4), in(4);
          c.send_recv(c.rank() == 3 ? 0 : -1, out, -1, in);
        }) == "send_recv: rank 3 sends to rank 0, which expects its message from rank -1");
  CHECK(common_error([](auto& c) {
          buffer out(4), in(4);
          c.send_recv(c.rank() == 1 ? 4 : -1, out, -1, in);
        }) == "rank 1: send_recv: no such rank");
}

TEST_CASE("communicate::threads: messages of one send_recv may differ in size") {
  run_ranks(2, [](thread_communicator& c) {
    std::vector<std::byte> const out(c.rank() == 0 ? 1000 : 3, static_cast<std::byte>(c.rank() + 1));
    std::vector<std::byte> in(c.rank() == 0 ? 3 : 1000);
    c.send_recv(1 - c.rank(), out, 1 - c.rank(), in);
    test::demand(in == std::vector<std::byte>(in.size(), static_cast<std::byte>(2 - c.rank())), "sizes that differ");
  });
}

TEST_CASE("communicate::threads: a group that broke stays broken, and says why every time") {
  thread_group group(2);
  thread_communicator c(group, 0), other(group, 1);
  other.abandon("no more");
  other.abandon("the first reason stands");
  CHECK(group.broken_by() == 1);
  std::vector<std::byte> two(2);
  std::vector<float> x(3);
  for (int repeat = 0; repeat < 2; ++repeat) {
    CHECK_THROWS_WITH_AS(c.all_gather(std::span(two).first(1), two), "rank 1 gave up: no more", communicator_error);
    CHECK_THROWS_AS(c.all_reduce_sum(std::span(x)), communicator_error);
    CHECK_THROWS_AS(c.send_recv(-1, two, -1, two), communicator_error);
    CHECK_THROWS_AS(other.all_to_all(two, two), communicator_error);
  }
}

TEST_CASE("communicate::threads: nobody goes on in a broken group, even where all are there") {
  thread_group group(1);
  thread_communicator c(group, 0);
  std::vector<std::byte> in(1), out(1);
  CHECK_NOTHROW(c.all_gather(out, in));
  c.abandon("enough");
  CHECK_THROWS_WITH_AS(c.all_gather(out, in), "rank 0 gave up: enough", communicator_error);
}

TEST_CASE("communicate::threads refuses groups and ranks that cannot be") {
  CHECK_THROWS_AS(thread_group(0), configuration_error);
  CHECK_THROWS_AS(thread_group(-3), configuration_error);
  thread_group group(2);
  CHECK_THROWS_AS(thread_communicator(group, 2), configuration_error);
  CHECK_THROWS_AS(thread_communicator(group, -1), configuration_error);
}

TEST_CASE("communicate::threads: no call overtakes another") {
  for (int P : {2, 5, 17})
    run_ranks(P, [P](thread_communicator& c) {
      for (int round = 0; round < 200; ++round) {
        std::int32_t x[3] = {round, c.rank(), 1};
        c.all_reduce_sum(std::span<std::int32_t>(x));
        test::demand(x[0] == round * P && x[1] == P * (P - 1) / 2 && x[2] == P, "round after round");
      }
    });
}
