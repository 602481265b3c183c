// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/faulty.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/threads.hpp>

#include <atomic>

using namespace gradpress;
using namespace std::chrono_literals;

static_assert(concepts::has_abandon<faulty<thread_communicator>> &&
              !concepts::has_abandon<faulty<archetypes::communicator>>);

TEST_CASE("communicate::faulty without faults changes nothing") {
  run_ranks(3, [](thread_communicator& c) {
    faulty unhurt{c};
    test::check_communicator(unhurt);
    test::demand(unhurt.calls() > 0, "calls are counted");
  });
}

TEST_CASE("communicate::faulty throws at its k-th call on the chosen rank, and releases the others") {
  for (long k : {0l, 1l, 5l})
    for (int culprit : {0, 2, -1}) {
      CAPTURE(k);
      CAPTURE(culprit);
      std::atomic<int> planted{0}, released{0};
      std::atomic<bool> counts_right{true};
      try {
        run_ranks(
            3,
            [&](thread_communicator& c) {
              faulty hurt{counting{c}, faults{.throws_at = k, .rank = culprit}};
              try {
                for (int i = 0; i < 10; ++i) {
                  std::vector<float> x(4);
                  hurt.all_reduce_sum(std::span(x));
                }
              } catch (communicator_error const& e) {
                auto const why = "fault planted in call " + std::to_string(k) + " (all_reduce_sum)";
                if (e.what() == why) ++planted;
                if (std::string(e.what()).ends_with("gave up: " + why)) ++released;
                if (hurt.inner().calls() != static_cast<std::uint64_t>(k)) counts_right = false;
                throw;
              }
            },
            5s);
      } catch (communicator_error const&) {
      }
      CHECK(planted + released == 3);
      CHECK(planted >= 1);
      if (culprit >= 0) CHECK(planted == 1);
      CHECK(counts_right);
    }
}

TEST_CASE("communicate::faulty releases the others before it throws") {
  struct listening {
    std::string heard;
    int rank() { return 0; }
    int size() { return 1; }
    void all_gather(std::span<std::byte const>, std::span<std::byte>) {}
    void abandon(std::string_view why) noexcept { heard = why; }
  };
  faulty hurt{listening{}, faults{.throws_at = 0}};
  CHECK_THROWS_AS(hurt.all_gather({}, {}), communicator_error);
  CHECK(hurt.inner().heard == "fault planted in call 0 (all_gather)");
}

TEST_CASE("communicate::faulty throws also where nobody can be released") {
  struct alone {
    int rank() { return 0; }
    int size() { return 1; }
    void all_gather(std::span<std::byte const>, std::span<std::byte>) {}
  };
  faulty hurt{alone{}, faults{.throws_at = 1}};
  hurt.all_gather({}, {});
  CHECK_THROWS_AS(hurt.all_gather({}, {}), communicator_error);
  CHECK_NOTHROW(hurt.all_gather({}, {}));
}

TEST_CASE("communicate::faulty damages what arrives, on the chosen rank and in the chosen call alone") {
  run_ranks(3, [](thread_communicator& c) {
    std::vector<std::byte> const mine(4, static_cast<std::byte>(c.rank() + 1));
    std::vector<std::byte> whole(12);
    for (std::size_t i = 0; i < 12; ++i) whole[i] = static_cast<std::byte>(i / 4 + 1);

    faulty flips{c, faults{.corrupts = faults::flip_byte(1, 5), .rank = 2}};
    faulty cuts{c, faults{.corrupts = faults::truncate(1, 6)}};
    faulty beyond{c, faults{.corrupts = faults::flip_byte(0, 12)}};
    std::vector<std::byte> all(12);
    for (int call = 0; call < 3; ++call) {
      flips.all_gather(mine, all);
      auto flipped = whole;
      flipped[5] = ~flipped[5];
      test::demand(all == (call == 1 && c.rank() == 2 ? flipped : whole), "flip_byte");
      cuts.all_gather(mine, all);
      auto cut = whole;
      std::fill(cut.begin() + 6, cut.end(), std::byte{0});
      test::demand(all == (call == 1 ? cut : whole), "truncate");
      beyond.all_gather(mine, all);
      test::demand(all == whole, "a byte that does not arrive is not flipped");
    }
    faulty sums{c, faults{.corrupts = faults::flip_byte(0, 0)}};
    std::int8_t x[1] = {1};
    sums.all_reduce_sum(std::span<std::int8_t>(x));
    test::demand(x[0] == ~3, "sums arrive in place");
    faulty hops{c, faults{.corrupts = [](long, std::span<std::byte> in) { test::demand(in.empty(), "nobody sends"); }}};
    std::vector<std::byte> in(4);
    hops.send_recv(-1, mine, -1, in);
  });
}
