// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/threads.hpp>

#include "../support/communicator_laws.hpp"

#include <atomic>

using namespace gradpress;
using namespace std::chrono_literals;

static_assert(communicator<thread_communicator> && concepts::has_all_to_all<thread_communicator> && concepts::has_all_reduce_sum<thread_communicator, bfloat16>);
static_assert(!communicator<int>);

TEST_CASE("communicate::threads gives what the operations promise, for every world size") {
  for (int P : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
    CAPTURE(P);
    run_ranks(P, [](thread_communicator& c) { test::check_communicator(c); });
  }
}

TEST_CASE("communicate::derived gives the same bits as the native operations") {
  for (int P : {1, 2, 3, 4, 7, 9}) {
    CAPTURE(P);
    run_ranks(P, [](thread_communicator& c) {
      test::gather_only bare{c};
      test::check_communicator(bare);
      for (std::size_t n : {0u, 1u, 33u, 1000u}) {
        auto native = test::numbers<float>(c.rank(), n), derived = native;
        collective::room_t room;
        c.all_reduce_sum(std::span(native));
        collective::all_reduce_sum(bare, std::span(derived), room);
        if (native.size() != derived.size() || std::memcmp(native.data(), derived.data(), 4 * native.size()) != 0) throw std::runtime_error("derived sums differ");
      }
    });
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
  CHECK(what.find("in vain for rank 1") != std::string::npos);
}

TEST_CASE("communicate::threads: different calls and sizes are one error on all ranks") {
  std::atomic<int> errors{0};
  auto const counted = [&](auto const& body) {
    errors = 0;
    try {
      run_ranks(4, [&](thread_communicator& c) {
        try {
          body(c);
        } catch (communicator_error const&) {
          ++errors;
          throw;
        }
      });
    } catch (communicator_error const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  auto const sizes = counted([](thread_communicator& c) {
    std::vector<std::byte> mine(c.rank() == 2 ? 5 : 4), all(20);
    c.all_gather(mine, all);
  });
  CHECK(sizes == "all_gather: rank 0 has 4 bytes, rank 2 has 5");
  CHECK(errors == 4);
  auto const calls = counted([](thread_communicator& c) {
    std::vector<std::byte> mine(4), all(16);
    if (c.rank() == 1)
      c.all_to_all(mine, mine);
    else
      c.all_gather(mine, all);
  });
  CHECK(calls == "rank 0 calls all_gather, rank 1 calls all_to_all");
  CHECK(errors == 4);
  auto const partner = counted([](thread_communicator& c) {
    std::vector<std::byte> out(4), in(4);
    c.send_recv(-1, out, c.rank() == 0 ? 1 : -1, in);
  });
  CHECK(partner.find("expects 4 bytes from rank 1") != std::string::npos);
  CHECK(errors == 4);
}
