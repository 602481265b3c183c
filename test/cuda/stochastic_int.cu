// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/cuda/int_decode.cuh>

#include "device.hpp"

#include <gradpress/kernel/stochastic_int.hpp>

#include <cmath>
#include <limits>
#include <random>

namespace gp = gradpress;
namespace device = gradpress::kernel::cuda;
using sizes = std::vector<std::size_t>;

namespace {

constexpr std::uint64_t key = 0x0123456789abcdefu;

struct encoded {
  std::vector<std::byte> codes;
  std::vector<float> rest;
  bool finite = true;
};

encoded on_host(std::vector<float> const& g, std::vector<float> const* e, int bits, std::size_t block,
                bool stochastic) {
  encoded r{std::vector<std::byte>(gp::kernel::int_bytes(g.size(), bits, block)), std::vector<float>(e ? g.size() : 0)};
  r.finite = gp::kernel::int_encode_sum(gp::serial{}, g.data(), e ? e->data() : nullptr, e ? r.rest.data() : nullptr,
                                        g.size(), bits, block, stochastic, key, r.codes.data());
  return r;
}

/// `shift` words off an aligned address, all arrays.
encoded on_device(std::vector<float> const& g, std::vector<float> const* e, int bits, std::size_t block,
                  bool stochastic, std::size_t shift) {
  auto const n = g.size();
  device_array<float> dg(g, shift), de(e ? *e : std::vector<float>{}, shift), rest(e ? n : 0, shift);
  device_array<std::byte> codes(gp::kernel::int_bytes(n, bits, block), 4 * shift);
  device_array<std::uint32_t> flag(std::vector<std::uint32_t>{0});
  auto const error =
      e ? device::int_encode_sum(nullptr, dg.data(), de.data(), rest.data(), n, bits, block, stochastic, key,
                                 codes.data(), flag.data())
        : device::int_encode(nullptr, dg.data(), n, bits, block, stochastic, key, codes.data(), flag.data());
  REQUIRE(error == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess);
  return {codes.read(), rest.read(), flag.read()[0] == 0};
}

std::vector<float> numbers(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = normal(random) * std::exp(static_cast<float>(i % 1500) / 100.0f);
  return x;
}

void compare(std::vector<float> const& g, std::vector<float> const* e, int bits, std::size_t block, bool stochastic,
             std::size_t shift) {
  CAPTURE(g.size());
  CAPTURE(bits);
  CAPTURE(block);
  CAPTURE(stochastic);
  CAPTURE(shift);
  auto const want = on_host(g, e, bits, block, stochastic), got = on_device(g, e, bits, block, stochastic, shift);
  CHECK(got.codes == want.codes);
  CHECK(got.rest == want.rest);
  CHECK(got.finite == want.finite);
}

}  // namespace

TEST_CASE("kernel/cuda/stochastic_int: the bits of the host") {
  for (auto const n : sizes{0, 1, 31, 32, 33, 1000, 1024, 4097})
    for (int const bits : {8, 4, 2})
      for (auto const block : sizes{64, 1024, 2048}) {
        auto const g = numbers(n, 1), e = numbers(n, 2);
        compare(g, nullptr, bits, block, true, 0);
        compare(g, &e, bits, block, true, 0);
      }
}

TEST_CASE("kernel/cuda/stochastic_int: any alignment, odd blocks, rounding to nearest") {
  auto const g = numbers(5003, 3), e = numbers(5003, 4);
  for (int const bits : {8, 4, 2})
    for (auto const shift : sizes{0, 1, 3})
      for (auto const block : sizes{192, 1024, 3008}) {
        compare(g, &e, bits, block, true, shift);
        compare(g, nullptr, bits, block, false, shift);
      }
}

TEST_CASE("kernel/cuda/stochastic_int: the ends of the range") {
  for (float const scale : {0.0f, 1e-45f, 1e-40f, 1e-38f, 1e-20f, 1e20f, 1e37f, 1.1e38f}) {
    auto g = numbers(1500, 5);
    for (auto& v : g) v = std::clamp(v / 3e6f, -3.0f, 3.0f) * scale;
    for (int const bits : {8, 4, 2}) compare(g, nullptr, bits, 1024, true, 0);
  }
}

TEST_CASE("kernel/cuda/stochastic_int: what is not finite is flagged") {
  for (float const poison : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (auto const at : sizes{0, 1023, 1024, 2999}) {
      auto g = numbers(3000, 6);
      g[at] = poison;
      CHECK_FALSE(on_device(g, nullptr, 4, 1024, true, 0).finite);
      CHECK_FALSE(on_device(g, &g, 8, 2048, true, 0).finite);
    }
}

TEST_CASE("kernel/cuda/stochastic_int: decodes and adds as the host does") {
  for (auto const n : sizes{0, 1, 2, 3, 33, 1000, 4097, 20001})
    for (int const bits : {8, 4, 2})
      for (auto const shift : sizes{0, 1}) {
        std::size_t const block = 192;
        auto const codes = on_host(numbers(n, 7), nullptr, bits, block, true).codes;
        auto want = numbers(n, 8);
        device_array<std::byte> from(codes, 4 * shift);
        device_array<float> x(n, shift), sum(want, shift);
        REQUIRE(device::int_accumulate(nullptr, from.data(), n, bits, block, -1.0f, sum.data()) == cudaSuccess);
        REQUIRE(device::int_decode(nullptr, from.data(), n, bits, block, x.data()) == cudaSuccess);
        REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess);
        gp::kernel::int_accumulate(gp::serial{}, codes.data(), n, bits, block, -1.0f, want.data());
        CHECK(sum.read() == want);
        gp::kernel::int_decode(gp::serial{}, codes.data(), n, bits, block, want.data());
        CHECK(x.read() == want);
      }
}

TEST_CASE("kernel/cuda/stochastic_int: refuses what it cannot do") {
  device_array<float> x(64);
  device_array<std::byte> codes(400);
  device_array<std::uint32_t> flag(1);
  auto const call = [&](int bits, std::size_t block, std::size_t off) {
    return device::int_encode(nullptr, x.data(), 64, bits, block, true, key, codes.data() + off, flag.data());
  };
  CHECK(call(3, 64, 0) == cudaErrorInvalidValue);
  CHECK(call(8, 0, 0) == cudaErrorInvalidValue);
  CHECK(call(8, 100, 0) == cudaErrorInvalidValue);
  CHECK(call(8, 64, 2) == cudaErrorInvalidValue);
}
