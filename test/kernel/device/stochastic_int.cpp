// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/device/stochastic_int.hpp>

#include <doctest/doctest.h>
#include <gradpress/kernel/stochastic_int.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace gp = gradpress;
namespace device = gradpress::kernel::device;
using exec = gp::serial;

namespace {

constexpr std::uint64_t key = 0xfeedfacecafebeefu;

std::vector<float> numbers(std::size_t n, float phase) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = std::sin(static_cast<float>(i) * 0.37f + phase) * std::exp(static_cast<float>(i % 2500) / 200.0f);
  return x;
}

struct encoded {
  std::vector<std::byte> codes;
  std::vector<float> rest;
  bool finite;
};

encoded by_teams(std::vector<float> const& g, std::vector<float> const* e, int bits, std::size_t block,
                 bool stochastic) {
  encoded r{std::vector<std::byte>(gp::kernel::int_bytes(g.size(), bits, block) + 1, std::byte{0x5a}),
            std::vector<float>(e ? g.size() : 0), true};
  std::uint32_t flag = 0;
  device::int_encode_sum(exec{}, g.data(), e ? e->data() : nullptr, e ? r.rest.data() : nullptr, g.size(), bits, block,
                         stochastic, key, r.codes.data(), &flag);
  CHECK(r.codes.back() == std::byte{0x5a});
  r.codes.pop_back();
  r.finite = flag == 0;
  return r;
}

encoded by_host(std::vector<float> const& g, std::vector<float> const* e, int bits, std::size_t block,
                bool stochastic) {
  encoded r{std::vector<std::byte>(gp::kernel::int_bytes(g.size(), bits, block)), std::vector<float>(e ? g.size() : 0),
            true};
  r.finite = gp::kernel::int_encode_sum(exec{}, g.data(), e ? e->data() : nullptr, e ? r.rest.data() : nullptr,
                                        g.size(), bits, block, stochastic, key, r.codes.data());
  return r;
}

}  // namespace

TEST_CASE("kernel/device/stochastic_int: the bits of the host kernel") {
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u, 100003u})
    for (int const bits : {8, 4, 2})
      for (std::size_t const block : {64u, 1024u, 4096u})
        for (bool const stochastic : {true, false}) {
          CAPTURE(n);
          CAPTURE(bits);
          CAPTURE(block);
          CAPTURE(stochastic);
          auto const g = numbers(n, 0.0f), e = numbers(n, 1.0f);
          auto const got = by_teams(g, &e, bits, block, stochastic), want = by_host(g, &e, bits, block, stochastic);
          CHECK(got.codes == want.codes);
          CHECK(got.rest == want.rest);
          CHECK(got.finite);
          CHECK(by_teams(g, nullptr, bits, block, stochastic).codes ==
                by_host(g, nullptr, bits, block, stochastic).codes);
        }
}

TEST_CASE("kernel/device/stochastic_int: what was decoded and the rest make the signal") {
  auto const g = numbers(5000, 2.0f);
  std::vector<float> const e(5000, 0.0f);
  for (int const bits : {8, 4, 2}) {
    auto const r = by_teams(g, &e, bits, 1024, true);
    std::vector<float> x(5000), sum = r.rest;
    device::int_decode(exec{}, r.codes.data(), x.size(), bits, 1024, x.data());
    device::int_accumulate(exec{}, r.codes.data(), x.size(), bits, 1024, 1.0f, sum.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      auto const most = *std::max_element(
          g.begin() + static_cast<std::ptrdiff_t>(i / 1024 * 1024),
          g.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(5000, i / 1024 * 1024 + 1024)),
          [](float a, float b) { return std::fabs(a) < std::fabs(b); });
      auto const tolerance = std::fabs(most) * 1e-6f;
      REQUIRE(std::fabs(r.rest[i]) <= std::fabs(most) / static_cast<float>(gp::kernel::int_levels(bits)) * 1.001f);
      REQUIRE(std::fabs(sum[i] - g[i]) <= tolerance);
      REQUIRE(std::fabs(x[i] + r.rest[i] - g[i]) <= tolerance);
    }
    std::vector<float> want(5000), minus = g, minus_want = g;
    gp::kernel::int_decode(exec{}, r.codes.data(), want.size(), bits, 1024, want.data());
    CHECK(x == want);
    device::int_accumulate(exec{}, r.codes.data(), minus.size(), bits, 1024, -1.0f, minus.data());
    gp::kernel::int_accumulate(exec{}, r.codes.data(), minus.size(), bits, 1024, -1.0f, minus_want.data());
    CHECK(minus == minus_want);
  }
}

TEST_CASE("kernel/device/stochastic_int: zeros are zeros, what is not finite is flagged") {
  std::vector<float> g(3000, 0.0f);
  auto const zero = by_teams(g, nullptr, 4, 1024, true);
  CHECK(zero.finite);
  CHECK(std::all_of(zero.codes.begin(), zero.codes.end(), [](std::byte b) { return b == std::byte{0}; }));
  for (float const poison : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (std::size_t const at : {0u, 1023u, 1024u, 2999u}) {
      g = numbers(3000, 3.0f);
      g[at] = poison;
      CHECK_FALSE(by_teams(g, nullptr, 8, 1024, true).finite);
    }
}
