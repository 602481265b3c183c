// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/cuda/top_k.cuh>

#include "device.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace device = gradpress::kernel::cuda;
using std::uint32_t;
using sizes = std::vector<std::size_t>;

namespace {

uint32_t bits(float v) { return std::bit_cast<uint32_t>(v) & 0x7fffffffu; }

struct kept {
  std::vector<uint32_t> index;
  std::vector<float> value;
  uint32_t not_finite = 0;
  uint32_t candidates = 0;  ///< what the collect pass found
};

/// The contract, sentence by sentence.
kept expected(std::vector<float> const& x, std::size_t k) {
  kept r;
  r.index.resize(x.size());
  std::iota(r.index.begin(), r.index.end(), 0u);
  k = std::min(k, x.size());
  std::partial_sort(r.index.begin(), r.index.begin() + static_cast<std::ptrdiff_t>(k), r.index.end(),
                    [&](uint32_t a, uint32_t b) { return bits(x[a]) != bits(x[b]) ? bits(x[a]) > bits(x[b]) : a < b; });
  r.index.resize(k);
  std::sort(r.index.begin(), r.index.end());
  for (auto const i : r.index) r.value.push_back(x[i]);
  return r;
}

kept run(std::vector<float> const& g, std::vector<float> const* e, std::vector<float>* a, std::size_t k,
         std::size_t shift = 0) {
  auto const n = g.size(), count = std::min(k, n);
  device_array<float> dg(g, shift), de(e ? *e : std::vector<float>{}, shift), da(e ? n : 0, shift);
  device_array<uint32_t> index(count), flag(std::vector<uint32_t>{0});
  device_array<float> value(count);
  device_array<unsigned char> work(device::top_k_workspace_bytes(n, k));
  cudaStream_t stream{};
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  device::top_k_result const to{index.data(), value.data(), flag.data()};
  auto const error = e ? device::top_k_sum(stream, dg.data(), de.data(), da.data(), n, k, work.data(), to)
                       : device::top_k(stream, dg.data(), n, k, work.data(), to);
  REQUIRE(error == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
  kept r{index.read(), value.read(), flag.read()[0], 0};
  if (a) *a = da.read();
  auto const memory = work.read();
  if (n != 0) std::memcpy(&r.candidates, memory.data() + 4, 4);
  return r;
}

/// Compares with the contract and returns how many candidates there were.
uint32_t check(std::vector<float> const& x, std::size_t k, std::size_t shift = 0) {
  CAPTURE(x.size());
  CAPTURE(k);
  CAPTURE(shift);
  auto const got = run(x, nullptr, nullptr, k, shift), want = expected(x, k);
  CHECK(got.index == want.index);
  CHECK(got.value == want.value);
  CHECK(got.not_finite == 0);
  return got.candidates;
}

/// Normal numbers whose scale changes from layer to layer.
std::vector<float> layers(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = normal(random) * std::exp(static_cast<float>(i * 7 / (n + 1)) - 3.0f);
  return x;
}

}  // namespace

TEST_CASE("kernel/cuda/top_k: the k first by magnitude, then index") {
  for (auto const n : sizes{0, 1, 31, 32, 33, 1000, 4097, 9001})
    for (auto const k : sizes{0, 1, n / 3, n - std::min<std::size_t>(n, 1), n, n + 5})
      check(layers(n, static_cast<unsigned>(n)), k);
}

TEST_CASE("kernel/cuda/top_k: more elements than samples") {
  auto const x = layers(100003, 5);
  for (auto const k : sizes{100, 1000}) {
    auto const found = check(x, k);
    CHECK(found >= k);  // no slow path here
    CHECK(found <= device::plan_top_k(x.size(), k).capacity);
  }
}

TEST_CASE("kernel/cuda/top_k: any alignment") {
  for (auto const shift : sizes{1, 2, 3}) check(layers(4999, 3), 60, shift);
}

TEST_CASE("kernel/cuda/top_k: ties go to the lowest index") {
  std::vector<float> x(9000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 5) * (i % 2 ? -1.0f : 1.0f);
  for (auto const k : sizes{1, 17, 1800, 1801, 5000, 7201, 8999}) check(x, k);
  std::fill(x.begin(), x.end(), 0.0f);
  x[4000] = -0.0f;
  check(x, 4500);
  std::fill(x.begin(), x.end(), -1.5f);
  check(x, 4500);
}

TEST_CASE("kernel/cuda/top_k: too many candidates take the slow path") {
  std::vector<float> x(100003, 1.5f);
  x[100002] = -2.0f;
  CHECK(check(x, 50) > device::plan_top_k(x.size(), 50).capacity);
}

TEST_CASE("kernel/cuda/top_k: too few candidates take the slow path") {
  // Large values exactly where the sample looks, each larger than the one before; small ones elsewhere.
  std::size_t const n = 100003, k = 2040;
  auto const plan = device::plan_top_k(n, k);
  auto x = layers(n, 9);
  for (auto& v : x) v *= 1e-12f;
  for (uint32_t q = 0; q < plan.samples; ++q)
    x[device::sample_position(q, plan.samples, plan.n)] =
        std::ldexp(1.0f + static_cast<float>(q % 97) / 97.0f, static_cast<int>(q % 97));
  CHECK(check(x, k) < k);
}

TEST_CASE("kernel/cuda/top_k: of a sum, which is written in full") {
  for (auto const n : sizes{1, 33, 4097, 70001})
    for (auto const shift : sizes{0, 1}) {
      auto const g = layers(n, 1), e = layers(n, 2);
      std::vector<float> sum(n), a;
      for (std::size_t i = 0; i < n; ++i) sum[i] = g[i] + e[i];
      auto const k = n / 50 + 1;
      auto const got = run(g, &e, &a, k, shift), want = expected(sum, k);
      CHECK(a == sum);
      CHECK(got.index == want.index);
      CHECK(got.value == want.value);
      CHECK(got.not_finite == 0);
      CHECK(run(g, &e, &a, 0, shift).index.empty());
      CHECK(a == sum);
    }
}

TEST_CASE("kernel/cuda/top_k: what is not finite is flagged, wherever it is") {
  for (auto const poison : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()})
    for (auto const at : sizes{0, 4096, 9998}) {
      auto x = layers(9999, 4);
      x[at] = poison;
      CHECK(run(x, nullptr, nullptr, 10).not_finite == 1);
      CHECK(run(x, nullptr, nullptr, 0).not_finite == 1);
    }
  // Finite parts with a sum that is not.
  std::vector<float> const big(40, 3e38f);
  std::vector<float> a;
  CHECK(run(big, &big, &a, 3).not_finite == 1);
}

TEST_CASE("kernel/cuda/top_k: equal input, equal bits") {
  auto const x = layers(50000, 8);
  auto const first = run(x, nullptr, nullptr, 700), second = run(x, nullptr, nullptr, 700);
  CHECK(first.index == second.index);
  CHECK(first.value == second.value);
}
