// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/cuda/select_above.cuh>

#include "device.hpp"

#include <bit>
#include <cmath>
#include <limits>

namespace device = gradpress::kernel::cuda;
using sizes = std::vector<std::size_t>;

namespace {

std::vector<float> numbers(std::size_t n, float phase) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = std::cos(static_cast<float>(i) + phase) * static_cast<float>(i % 7);
  return x;
}

struct kept {
  std::vector<std::uint32_t> index;
  std::vector<float> value;
  std::uint32_t count, not_finite;
};

kept run(std::vector<float> const& g, std::vector<float> const* e, std::vector<float>* a, float tau,
         std::size_t capacity, std::size_t shift = 0) {
  auto const n = g.size();
  device_array<float> dg(g, shift), de(e ? *e : std::vector<float>{}, shift), da(e ? n : 0, shift), value(capacity);
  device_array<std::uint32_t> index(capacity), count(1), flag(std::vector<std::uint32_t>{0});
  device_array<unsigned char> work(device::select_above_workspace_bytes(n, capacity));
  device::select_above_result const to{index.data(), value.data(), capacity, count.data(), flag.data()};
  auto const bits = std::bit_cast<std::uint32_t>(tau);
  auto const error = e ? device::select_above_sum(nullptr, dg.data(), de.data(), da.data(), n, bits, work.data(), to)
                       : device::select_above(nullptr, dg.data(), n, bits, work.data(), to);
  REQUIRE(error == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess);
  if (a) *a = da.read();
  static_cast<void>(work.read());
  return {index.read(), value.read(), count.read()[0], flag.read()[0]};
}

kept expected(std::vector<float> const& x, float tau) {
  kept r{};
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::fabs(x[i]) >= tau) {
      r.index.push_back(static_cast<std::uint32_t>(i));
      r.value.push_back(x[i]);
    }
  r.count = static_cast<std::uint32_t>(r.index.size());
  return r;
}

}  // namespace

TEST_CASE("kernel/cuda/select_above: equals a plain loop, of a sum too") {
  for (auto const n : sizes{0, 1, 31, 32, 33, 34, 1000, 4096, 4097, 100003})
    for (float const tau : {0.0f, 5.5f, 100.0f})
      for (auto const shift : sizes{0, 1}) {
        CAPTURE(n);
        CAPTURE(tau);
        auto const g = numbers(n, 0.0f), e = numbers(n, 1.0f);
        auto const plain = expected(g, tau);
        auto const got = run(g, nullptr, nullptr, tau, plain.count, shift);
        CHECK(got.count == plain.count);
        CHECK(got.index == plain.index);
        CHECK(got.value == plain.value);

        std::vector<float> sum(n), a;
        for (std::size_t i = 0; i < n; ++i) sum[i] = g[i] + e[i];
        auto const want = expected(sum, tau);
        auto const fused = run(g, &e, &a, tau, want.count, shift);
        CHECK(a == sum);
        CHECK(fused.index == want.index);
        CHECK(fused.value == want.value);
        CHECK(fused.not_finite == 0);
      }
}

TEST_CASE("kernel/cuda/select_above: too little room leaves the count right and the results alone") {
  auto const x = numbers(9000, 0.0f);
  auto const want = expected(x, 3.0f).count;
  REQUIRE(want > 10);
  for (auto const room : sizes{0, 1, want - 1u}) {
    auto const got = run(x, nullptr, nullptr, 3.0f, room);
    CHECK(got.count == want);
    for (auto const i : got.index) REQUIRE(i == 0xa5a5a5a5u);
  }
}

TEST_CASE("kernel/cuda/select_above: what is not finite is flagged") {
  auto x = numbers(5000, 0.0f);
  x[4999] = std::numeric_limits<float>::quiet_NaN();
  CHECK(run(x, nullptr, nullptr, 1000.0f, 5).not_finite == 1);
}
