// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/int_step.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace gradpress;

namespace {

std::vector<float> tops() {
  std::vector<float> t{std::numeric_limits<float>::max(),
                       std::numeric_limits<float>::denorm_min(),
                       std::numeric_limits<float>::min(),
                       1e-44f,
                       1e-40f,
                       0x1p-60f,
                       0x1p100f,
                       127.f,
                       7.f,
                       1.f,
                       0.1f};
  for (auto const x : std::vector<float>(t))
    if (std::nextafter(x, 0.f) > 0.f) t.push_back(std::nextafter(x, 0.f));
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) t.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random() % 0x7f800000u)));
  return t;
}

}  // namespace

TEST_CASE("kernel/int_step: code * scale is exact and finite") {
  for (auto const top : tops())
    for (int const bits : {8, 4, 2})
      for (bool const stochastic : {false, true}) {
        auto const levels = kernel::int_levels(bits);
        auto const s = kernel::make_int_step(std::bit_cast<std::uint32_t>(top), bits, stochastic);
        CAPTURE(top);
        CAPTURE(bits);
        bool exact = true;
        for (int q = -levels; q <= levels; ++q)
          exact = exact && static_cast<double>(static_cast<float>(q) * s.scale) ==
                               static_cast<double>(q) * static_cast<double>(s.scale);
        CHECK(exact);
        CHECK(std::isfinite(s.scale * static_cast<float>(levels)));
        CHECK(std::isnormal(s.inverse));
        if (top > 1e-36f)
          CHECK(static_cast<double>(s.scale) == doctest::Approx(static_cast<double>(top) / levels).epsilon(2e-5));
        for (float const x : {top, -top, top / 2, top / 3, -top / 5, 0.f}) {
          auto const q = kernel::int_code(x, s, stochastic, 128);  // this byte rounds to nearest
          CHECK(std::abs(q) <= levels);
          auto const error = std::abs(static_cast<double>(x) - q * static_cast<double>(s.scale));
          CHECK(error <= static_cast<double>(s.scale) * (stochastic ? 0.503 : 0.5001));
        }
      }
}

TEST_CASE("kernel/int_step: the mean over the random bytes is the value") {
  std::mt19937 random(4);
  std::uniform_real_distribution<float> uniform(-1.f, 1.f);
  for (auto const top : {1.f, 3.7e-5f, 3e38f, 1e-39f})
    for (int const bits : {8, 4, 2}) {
      auto const s = kernel::make_int_step(std::bit_cast<std::uint32_t>(top), bits, true);
      for (int i = 0; i < 200; ++i) {
        auto const x = i == 0 ? top : i == 1 ? -top : top * uniform(random);
        int sum = 0, low = 1000, high = -1000;
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
          auto const q = kernel::int_code(x, s, true, byte);
          sum += q;
          low = std::min(low, q);
          high = std::max(high, q);
        }
        auto const level = static_cast<double>(x) / static_cast<double>(s.scale);
        CAPTURE(x);
        CAPTURE(bits);
        // 2^-9 from the byte; at the ends of the range the rounding of the scale.
        CHECK(std::abs(sum / 256.0 - level) <= 1.0 / 512 + 1e-4 + (top > 1e38f ? 2e-3 : 0));
        CHECK(high - low <= 1);
        CHECK(std::max(std::abs(low), std::abs(high)) <= kernel::int_levels(bits));
      }
    }
}

TEST_CASE("kernel/int_step: points of a coarse grid are kept, ties go to the even code") {
  static_assert(kernel::make_int_step(0, 8, true).scale == 0.f);
  for (int const bits : {8, 4, 2}) {
    auto const levels = kernel::int_levels(bits);
    for (float const unit : {1.f, 0.375f, 0x1p-90f, 3.f * 0x1p110f}) {
      auto const top = unit * static_cast<float>(levels);
      auto const s = kernel::make_int_step(std::bit_cast<std::uint32_t>(top), bits, false);
      CHECK(s.scale == unit);
      for (int q = -levels; q <= levels; ++q) {
        CHECK(kernel::int_code(static_cast<float>(q) * unit, s, false, 0) == q);
        auto const even = q % 2 == 0 ? q : q + 1;
        if (q < levels) CHECK(kernel::int_code((static_cast<float>(q) + 0.5f) * unit, s, false, 0) == even);
      }
    }
  }
}
