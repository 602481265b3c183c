// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/decorator.hpp>

#include <gradpress/communicate/functions.hpp>
#include <gradpress/communicate/self.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace gradpress;

namespace {
/// Notes the names of calls, before and after.
template <class Inner>
class noting : public decorator<noting<Inner>, Inner> {
 public:
  std::string seen;
  using decorator<noting<Inner>, Inner>::decorator;
  template <class Body>
  void around(call const& c, std::span<std::byte> arrives, Body const& body) {
    seen += std::string("<") + c.name + " " + std::to_string(c.sent) + "/" + std::to_string(arrives.size());
    body();
    seen += ">";
  }
};
/// One operation only.
struct bare {
  int rank() { return 0; }
  int size() { return 1; }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    std::copy(mine.begin(), mine.end(), all.begin());
  }
};
}  // namespace

TEST_CASE("communicate::decorator offers what the inner one offers, no more and no less") {
  CHECK(concepts::has_all_reduce_sum<noting<self_communicator>, float>);
  CHECK(concepts::has_send_recv<noting<self_communicator>> == concepts::has_send_recv<self_communicator>);
  CHECK_FALSE(concepts::has_all_reduce_sum<noting<bare>, float>);
  CHECK_FALSE(concepts::has_send_recv<noting<bare>>);
  CHECK(explain_communicator<noting<bare>>());
  // What is offered only at run time is asked of the inner one.
  noting<function_communicator> nothing_filled_in{function_communicator{}};
  CHECK_FALSE(nothing_filled_in.offers(operation::all_reduce_sum));
  function_communicator sums;
  sums.sum_floats = [](std::span<float>) {};
  CHECK(noting<function_communicator>{sums}.offers(operation::all_reduce_sum));
}

TEST_CASE("communicate::decorator sees every call with its bytes, and a reference is not copied") {
  bare inner;
  noting<bare&> n(inner);
  CHECK(&n.inner() == &inner);
  std::vector<std::byte> mine(3), all(3);
  n.all_gather(mine, all);
  CHECK(n.seen == "<all_gather 3/3>");
}
