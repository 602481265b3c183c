// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/self.hpp>

#include "../support/communicator_laws.hpp"

using namespace gradpress;

TEST_CASE("communicate::self gives what the operations promise, offered and derived") {
  self_communicator c;
  CHECK_NOTHROW(test::check_communicator(c));
  test::gather_only bare{c};
  CHECK_NOTHROW(test::check_communicator(bare));
}

TEST_CASE("communicate::self: the sum of one is that one, NaN and negative zero included") {
  self_communicator c;
  auto const nan = std::nanf("3");
  std::vector<float> x{nan, -0.f, 1e-45f}, before = x;
  c.all_reduce_sum(std::span(x));
  CHECK(std::memcmp(x.data(), before.data(), 12) == 0);
}

TEST_CASE("communicate::self refuses partners that do not exist and buffers that do not fit") {
  self_communicator c;
  std::vector<std::byte> out(4), in(4);
  std::vector<std::size_t> const sizes{5};
  CHECK_THROWS_AS(c.send_recv(1, out, -1, in), communicator_error);
  CHECK_THROWS_AS(c.send_recv(0, out, -1, in), communicator_error);
  CHECK_THROWS_AS(c.send_recv(-1, out, 0, in), communicator_error);
  CHECK_THROWS_AS(c.send_recv(0, out, 0, std::span(in).first(3)), communicator_error);
  CHECK_THROWS_AS(c.all_gather(out, std::span(in).first(3)), communicator_error);
  CHECK_THROWS_AS(c.all_gather_v(out, sizes, in), communicator_error);
  CHECK_THROWS_AS(c.all_to_all(out, std::span(in).first(3)), communicator_error);
}
