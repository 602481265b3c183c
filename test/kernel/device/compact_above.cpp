// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/device/compact_above.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace gp = gradpress;
using gp::index_t;
namespace device = gradpress::kernel::device;
using exec = gp::serial;

namespace {

struct listing {
  std::vector<index_t> index;
  std::vector<float> value;
  index_t count = 0;
};

listing run(std::vector<float> const& x, float tau, std::size_t capacity) {
  std::vector<index_t> index(capacity + 1, 0xdeadu);
  std::vector<float> value(capacity + 1, -7.0f);
  index_t count = 77;
  std::vector<index_t> work(device::compact_workspace_words(x.size(), capacity) + 1, 0xdeadu);
  using words = gp::view<exec, index_t>;
  device::compact_above<exec>(exec{}, gp::in<exec>(x.data(), x.size()), std::bit_cast<std::uint32_t>(tau),
                              words(index.data(), capacity), gp::view<exec>(value.data(), capacity), words(&count, 1),
                              words(work.data(), work.size() - 1));
  CHECK(index.back() == 0xdeadu);
  CHECK(value.back() == -7.0f);
  CHECK(work.back() == 0xdeadu);
  index.pop_back();
  value.pop_back();
  return {index, value, count};
}

listing expected(std::vector<float> const& x, float tau) {
  listing r;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!(std::fabs(x[i]) < tau)) {
      r.index.push_back(static_cast<index_t>(i));
      r.value.push_back(x[i]);
    }
  r.count = static_cast<index_t>(r.index.size());
  return r;
}

std::vector<float> wave(std::size_t n) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = std::sin(static_cast<float>(i) * 0.7f) * static_cast<float>(i % 13);
  return x;
}

}  // namespace

TEST_CASE("kernel/device/compact_above: equals a plain loop") {
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u, 4096u, 4097u, 100003u})
    for (float const tau : {0.0f, 0.5f, 11.5f, 100.0f}) {
      CAPTURE(n);
      CAPTURE(tau);
      auto const x = wave(n);
      auto const want = expected(x, tau);
      auto const got = run(x, tau, want.count);
      CHECK(got.count == want.count);
      CHECK(got.index == want.index);
      CHECK(got.value == want.value);
    }
}

TEST_CASE("kernel/device/compact_above: too little room leaves the count right") {
  auto const x = wave(9000);
  auto const want = expected(x, 3.0f).count;
  REQUIRE(want > 10);
  CHECK(run(x, 3.0f, want - 1).count == want);
  CHECK(run(x, 3.0f, 0).count == want);
  CHECK(run(x, 3.0f, want).count == want);
}

TEST_CASE("kernel/device/compact_above: what is not finite is above every threshold") {
  auto x = wave(5000);
  x[7] = std::numeric_limits<float>::quiet_NaN();
  x[4999] = -std::numeric_limits<float>::infinity();
  auto const got = run(x, 1000.0f, 2);
  CHECK(got.count == 2);
  CHECK(got.index == std::vector<index_t>{7, 4999});
}
