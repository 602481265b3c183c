// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/recording.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/delayed.hpp>
#include <gradpress/communicate/faulty.hpp>
#include <gradpress/communicate/threads.hpp>

using namespace gradpress;

TEST_CASE("communicate::recording keeps the promises of what it wraps") {
  run_ranks(3, [](thread_communicator& c) {
    recording taped{c};
    test::check_communicator(taped);
  });
}

TEST_CASE("communicate::recording keeps every call in order, with the bytes that left and the bytes that came") {
  run_ranks(2, [](thread_communicator& c) {
    recording taped{c};
    auto const b = [](std::initializer_list<int> v) {
      std::vector<std::byte> bytes;
      for (int x : v) bytes.push_back(static_cast<std::byte>(x));
      return bytes;
    };
    int const r = c.rank();
    auto const mine = b({10 + r});
    std::vector<std::byte> two(2), one(1);
    taped.all_gather(mine, two);
    std::int8_t x[2] = {static_cast<std::int8_t>(1 + r), 5};
    taped.all_reduce_sum(std::span<std::int8_t>(x));
    taped.send_recv(r == 0 ? 1 : -1, mine, r == 1 ? 0 : -1, one);
    taped.all_to_all(b({2 * r, 2 * r + 1}), two);

    auto const& log = taped.log();
    test::demand(log.size() == 4, "four calls");
    auto const is = [&](std::size_t i, char const* name, std::vector<std::byte> const& sent,
                        std::vector<std::byte> const& arrived) {
      test::demand(log[i].name == name && log[i].sent == sent && log[i].arrived == arrived, name);
    };
    is(0, "all_gather", mine, b({10, 11}));
    is(1, "all_reduce_sum", b({1 + r, 5}), b({3, 10}));
    is(2, "send_recv", r == 0 ? mine : b({}), r == 1 ? b({10}) : b({}));
    is(3, "all_to_all", b({2 * r, 2 * r + 1}), b({r, 2 + r}));
    test::demand(log[2].to == (r == 0 ? 1 : -1) && log[2].from == (r == 1 ? 0 : -1) && log[0].to == -1, "partners");
    taped.clear();
    test::demand(taped.log().empty(), "clear");
  });
}

TEST_CASE("communicate::recording: four decorators deep, every layer sees the call") {
  run_ranks(2, [](thread_communicator& c) {
    recording outer{faulty{counting{delayed{c, 1.0, 0.0}}, faults{.corrupts = faults::flip_byte(0, 0)}}};
    std::vector<std::byte> mine(1), all(2);
    outer.all_gather(mine, all);
    test::demand(outer.log().at(0).arrived[0] == std::byte{0xff}, "recording sees the damage");
    auto& faults_seen = outer.inner();
    auto& counted = faults_seen.inner();
    test::demand(faults_seen.calls() == 1 && counted.calls() == 1 && counted.inner().simulated_seconds() == 1, "all");
    test::demand(concepts::has_abandon<decltype(outer)>, "abandon passes through all of them");
  });
}
