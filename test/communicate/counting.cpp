// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/counting.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>

using namespace gradpress;

// It offers what the inner one offers, no more and no less.
using over_all = counting<thread_communicator>;
using over_least = counting<archetypes::communicator>;
static_assert(concepts::has_all_gather_v<over_all> && concepts::has_all_reduce_sum<over_all, float16> &&
              concepts::has_all_reduce_max<over_all> && concepts::has_send_recv<over_all> &&
              concepts::has_all_to_all<over_all> && concepts::has_abandon<over_all>);
static_assert(communicator<over_least> && !concepts::has_all_gather_v<over_least> &&
              !concepts::has_all_reduce_sum<over_least, float> && !concepts::has_all_reduce_max<over_least> &&
              !concepts::has_send_recv<over_least> && !concepts::has_all_to_all<over_least> &&
              !concepts::has_abandon<over_least>);

TEST_CASE("communicate::counting keeps the promises of what it wraps, offered and derived") {
  for (int P : {1, 2, 5})
    run_ranks(P, [](thread_communicator& c) {
      counting counted{c};
      test::check_communicator(counted);
      counting bare{test::gather_only<thread_communicator>{c}};
      test::check_communicator(bare);
    });
}

TEST_CASE("communicate::counting counts calls and this rank's contribution") {
  run_ranks(3, [](thread_communicator& c) {
    counting counted{c};
    std::vector<std::byte> six(6), eighteen(18), none, in(6);
    counted.all_gather(six, eighteen);
    counted.all_gather(six, eighteen);
    std::vector<std::size_t> const sizes{0, 6, 0};
    counted.all_gather_v(c.rank() == 1 ? six : none, sizes, in);
    std::vector<float> x(10);
    counted.all_reduce_sum(std::span(x));
    counted.all_reduce_max(std::span(x));
    counted.send_recv(c.rank() == 0 ? 1 : -1, six, c.rank() == 1 ? 0 : -1, in);
    counted.all_to_all(six, in);

    auto const& n = counted.counts();
    auto const is = [&](char const* name, std::uint64_t calls, std::uint64_t bytes) {
      test::demand(n.at(name).calls == calls && n.at(name).bytes == bytes, name);
    };
    std::uint64_t const from_one = c.rank() == 1 ? 6 : 0, from_zero = c.rank() == 0 ? 6 : 0;
    is("all_gather", 2, 12);
    is("all_gather_v", 1, from_one);
    is("all_reduce_sum", 1, 40);
    is("all_reduce_max", 1, 40);
    is("send_recv", 1, from_zero);
    is("all_to_all", 1, 6);
    test::demand(n.size() == 6 && counted.calls() == 7 && counted.bytes() == 98 + from_one + from_zero, "totals");
    counted.reset();
    test::demand(counted.calls() == 0 && counted.bytes() == 0, "reset");
  });
}

TEST_CASE("communicate::counting: a call that failed is not counted, and a reference is not copied") {
  self_communicator self;
  counting<self_communicator&> counted{self};
  CHECK(&counted.inner() == &self);
  std::vector<std::byte> two(2), three(3);
  CHECK_THROWS_AS(counted.all_gather(two, three), communicator_error);
  CHECK(counted.calls() == 0);
  counted.all_gather(two, two);
  CHECK(counted.calls() == 1);
}
