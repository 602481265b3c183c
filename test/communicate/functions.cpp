// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/functions.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/threads.hpp>

using namespace gradpress;

namespace {
function_communicator least(thread_communicator& c) {
  return {.my_rank = c.rank(), .world = c.size(), .gather = [&c](auto mine, auto all) { c.all_gather(mine, all); }};
}
function_communicator full(thread_communicator& c) {
  auto f = least(c);
  f.gather_v = [&c](auto mine, auto sizes, auto all) { c.all_gather_v(mine, sizes, all); };
  f.sum_floats = [&c](std::span<float> x) { c.all_reduce_sum(x); };
  f.max_floats = [&c](std::span<float> x) { c.all_reduce_max(x); };
  f.exchange = [&c](int to, auto out, int from, auto in) { c.send_recv(to, out, from, in); };
  f.transpose = [&c](auto out, auto in) { c.all_to_all(out, in); };
  f.give_up = [&c](std::string_view why) { c.abandon(why); };
  return f;
}
}  // namespace

TEST_CASE("communicate::functions gives what the operations promise, whatever is filled in") {
  for (int P : {1, 2, 3, 8}) {
    CAPTURE(P);
    run_ranks(P, [](thread_communicator& c) {
      auto a = least(c), b = full(c), d = least(c);
      d.sum_floats = b.sum_floats;
      test::check_communicator(a);
      test::check_communicator(b);
      test::check_communicator(d);
    });
  }
}

TEST_CASE("communicate::functions: what is filled in is called, what is empty is derived") {
  int gathers = 0, sums = 0;
  function_communicator c{.my_rank = 0, .world = 1, .gather = [&](auto mine, auto all) {
                            ++gathers;
                            std::copy(mine.begin(), mine.end(), all.begin());
                          }};
  collective::room_t room;
  std::vector<float> x(3);
  CHECK(!c.offers(operation::all_reduce_sum));
  collective::all_reduce_sum(c, std::span(x), room);
  CHECK(gathers == 1);
  c.sum_floats = [&](std::span<float>) { ++sums; };
  CHECK(c.offers(operation::all_reduce_sum));
  CHECK(!c.offers(operation::all_reduce_max));
  collective::all_reduce_sum(c, std::span(x), room);
  CHECK(gathers == 1);
  CHECK(sums == 1);
  std::vector<std::int8_t> bytes(3);  // only float sums can be filled in
  collective::all_reduce_sum(c, std::span(bytes), room);
  CHECK(gathers == 2);
  CHECK(sums == 1);
}

TEST_CASE("communicate::functions: the required one is missed by name, and giving up never throws") {
  function_communicator c;
  std::vector<std::byte> x(1);
  CHECK_THROWS_WITH_AS(c.all_gather(x, x),
                       "function_communicator: 'gather' is empty; it is the one function that is required",
                       configuration_error);
  c.abandon("nobody listens");
  c.give_up = [](std::string_view) { throw std::runtime_error("not that way"); };
  c.abandon("somebody does");
  CHECK(noexcept(c.abandon("")));
}
