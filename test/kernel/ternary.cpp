// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/ternary.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;
constexpr std::uint64_t some_key = 0xfedcba9876543210;

}  // namespace

TEST_CASE_TEMPLATE("kernel/ternary: what the definition gives, on every path", T, std::int8_t, std::int16_t) {
  for (auto const n : sizes{0, 1, 3, 15, 16, 17, 31, 32, 33, 63, 1000, 4097, 100003})
    for (auto const kind : {data::normal, data::zero, data::denormal, data::one_hot}) {
      CAPTURE(n);
      CAPTURE(static_cast<int>(kind));
      sample x(kind, n);
      float const scale = kind == data::denormal ? 1e-39f : 3.f;
      for_each_isa([&] {
        guarded<T> codes(n);
        kernel::ternary_encode(host{}, x.get(), n, scale, some_key, codes.get());
        bool right = true;
        for (std::size_t i = 0; i < n; ++i) {
          auto const uniform = static_cast<double>(philox(some_key, i / 4).word[i % 4] >> 8) * 0x1p-24;
          auto const hit = uniform < static_cast<double>(std::fabs(x[i]) / scale);
          right = right && codes[i] == (hit ? (x[i] < 0 ? -1 : 1) : 0);
        }
        CHECK(right);
        CHECK(codes.intact());
        guarded<float> y(n);
        kernel::ternary_decode(host{}, codes.get(), n, scale, y.get());
        for (std::size_t i = 0; i < n; ++i) right = right && bits(y[i]) == bits(scale * static_cast<float>(codes[i]));
        CHECK(right);
        CHECK(y.intact());
      });
    }
}

TEST_CASE("kernel/ternary: unbiased") {
  // The same value everywhere: the mean of the codes has deviation sqrt(p (1 - p) / n).
  std::size_t const n = 200000;
  for (float const chance : {0.001f, 0.3f, 0.9f})
    for (float const sign : {1.f, -1.f})
      for_each_isa([&] {
        std::vector<float> const x(n, sign * chance * 5.f);
        std::vector<std::int8_t> codes(n);
        kernel::ternary_encode(host{}, x.data(), n, 5.f, some_key, codes.data());
        double mean = 0;
        for (auto const c : codes) mean += static_cast<double>(c) / static_cast<double>(n);
        auto const p = static_cast<double>(chance);
        CHECK(std::abs(mean - static_cast<double>(sign) * p) <= 5 * std::sqrt(p * (1 - p) / static_cast<double>(n)));
      });
}

TEST_CASE("kernel/ternary: zero never, the scale always, scale 0 nothing; sums decode") {
  std::size_t const n = 70001;
  std::vector<float> x(n, 2.f);
  for (std::size_t i = 0; i < n; ++i) x[i] = i % 3 == 0 ? 0.f : i % 3 == 1 ? 2.f : -2.f;
  for_each_isa([&] {
    std::vector<std::int16_t> codes(n, 99);
    kernel::ternary_encode(host{}, x.data(), n, 2.f, some_key, codes.data());
    std::vector<float> y(n);
    kernel::ternary_decode(host{}, codes.data(), n, 2.f, y.data());
    CHECK(y == x);
    for (auto& c : codes) c = static_cast<std::int16_t>(c * 300);
    kernel::ternary_decode(host{}, codes.data(), n, 0.5f, y.data());
    CHECK((y[0] == 0.f && y[1] == 150.f && y[2] == -150.f && y[n - 1] == 150.f));
    kernel::ternary_encode(host{}, x.data(), n, 0.f, some_key, codes.data());
    CHECK(std::all_of(codes.begin(), codes.end(), [](std::int16_t c) { return c == 0; }));
  });
}

TEST_CASE("kernel/ternary: a chance equal to the random number is no hit, the next float is") {
  std::size_t const n = 1000;
  std::vector<float> equal(n), above(n);
  for (std::size_t i = 0; i < n; ++i) {
    equal[i] = static_cast<float>(philox(some_key, i / 4).word[i % 4] >> 8) * 0x1p-24f;
    above[i] = std::nextafter(equal[i], 2.f);
  }
  for_each_isa([&] {
    std::vector<std::int8_t> codes(n);
    kernel::ternary_encode(host{}, equal.data(), n, 1.f, some_key, codes.data());
    CHECK(codes == std::vector<std::int8_t>(n, 0));
    kernel::ternary_encode(host{}, above.data(), n, 1.f, some_key, codes.data());
    CHECK(codes == std::vector<std::int8_t>(n, 1));
  });
}
