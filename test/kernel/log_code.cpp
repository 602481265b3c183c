// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/log_code.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;

guarded<std::byte> encode(float const* x, std::size_t n, int width, float alpha) {
  guarded<std::byte> codes(kernel::log_bytes(n, width));
  if (n == 0) return codes;
  std::vector<float> partial(kernel::dense_chunks(n));
  CHECK(kernel::log_encode(host{}, x, n, width, alpha, partial.data(), codes.get()));
  CHECK(codes.intact());
  return codes;
}
std::vector<float> decode(guarded<std::byte> const& codes, std::size_t n, int width, float alpha) {
  guarded<float> x(n);
  kernel::log_decode(host{}, codes.get(), n, width, alpha, x.get());
  CHECK(x.intact());
  return x.values();
}
unsigned code(guarded<std::byte> const& codes, std::size_t i, int width) {
  return width == 4 ? static_cast<unsigned>(codes[4 + i / 2]) >> (i % 2 * 4) & 15u
                    : static_cast<unsigned>(codes[4 + i]);
}

}  // namespace

TEST_CASE("kernel/log_code: bytes") {
  static_assert(kernel::log_bytes(5, 4) == 7);
  static_assert(kernel::log_bytes(5, 8) == 9);
  // alpha = 3, 4 bits: magnitude m is (4^(m / 7) - 1) / 3; the borders 0.5 / 7 and 6.5 / 7 lie at 0.0347 and 0.8743.
  std::vector<float> const x{2.f, -2.f, 0.068f, 0.071f, -0.071f, 1.74f, 1.76f, -0.f, -0.01f};
  auto const four = encode(x.data(), x.size(), 4, 3.f);
  unsigned char const expected[] = {0, 0, 0, 0x40, 0xf7, 0x10, 0x69, 0x07, 0x00};
  REQUIRE(four.size() == sizeof expected);
  CHECK(std::memcmp(four.get(), expected, sizeof expected) == 0);
  auto const eight = encode(x.data(), 2, 8, 3.f);
  CHECK(code(eight, 0, 8) == 0x7f);
  CHECK(code(eight, 1, 8) == 0xff);
  CHECK(decode(eight, 2, 8, 3.f) == std::vector<float>{2.f, -2.f});
}

TEST_CASE("kernel/log_code: nearest on the logarithmic scale") {
  for (auto const n : sizes{1, 2, 31, 33, 1000, 4097})
    for (int const width : {4, 5, 6, 7, 8})
      for (float const alpha : {0.01f, 1.f, 10.f, 255.f, 1e6f, 1e30f})
        for (auto const kind : {data::normal, data::layers, data::rising}) {
          CAPTURE(n);
          CAPTURE(width);
          CAPTURE(alpha);
          sample x(kind, n);
          x[n - 1] = 0.f;
          auto const codes = encode(x.get(), n, width, alpha);
          auto const y = decode(codes, n, width, alpha);
          float top = 0;
          for (std::size_t i = 0; i < n; ++i) top = std::max(top, std::abs(x[i]));
          int const last = (1 << (width - 1)) - 1;
          double worst = 0;
          bool values = true, signs = true;
          for (std::size_t i = 0; i < n; ++i) {
            auto const m = code(codes, i, width) & static_cast<unsigned>(last);
            if (top > 0) {
              auto const a = static_cast<double>(alpha);
              auto const q =
                  std::log1p(a * std::abs(static_cast<double>(x[i])) / static_cast<double>(top)) / std::log1p(a) * last;
              worst = std::max(worst, std::abs(q - m));
              auto const v = static_cast<double>(top) * (std::pow(1 + a, m / static_cast<double>(last)) - 1) / a;
              values = values && std::abs(std::abs(static_cast<double>(y[i])) - v) <=
                                     1e-6 * v + 1e-13 * static_cast<double>(top) / a;
            }
            signs = signs && (m == 0 ? bits(y[i]) == 0 && (code(codes, i, width) >> (width - 1)) == 0
                                     : std::signbit(y[i]) == std::signbit(x[i]));
          }
          CHECK(worst <= 0.5 + 1e-4);
          CHECK(values);
          CHECK(signs);
        }
}

TEST_CASE("kernel/log_code: monotone, and values of the grid are kept") {
  for (int const width : {4, 5, 8})
    for (float const alpha : {0.01f, 10.f, 1e6f})
      for (float const top : {1.f, 3e38f, 1e-37f, 1e-42f, std::numeric_limits<float>::denorm_min()}) {
        CAPTURE(width);
        CAPTURE(alpha);
        CAPTURE(top);
        std::vector<float> x;
        for (int i = -3000; i <= 3000; ++i) x.push_back(top * (static_cast<float>(i) / 3000.f));
        auto const codes = encode(x.data(), x.size(), width, alpha);
        auto const y = decode(codes, x.size(), width, alpha);
        CHECK(std::is_sorted(y.begin(), y.end()));
        CHECK((y.front() == -top && y.back() == top));
        if (top < 1e-20f) continue;  // denormal magnitudes run together
        auto const again = encode(y.data(), y.size(), width, alpha);
        CHECK(decode(again, y.size(), width, alpha) == y);
      }
}

TEST_CASE("kernel/log_code: borders belong to the upper magnitude") {
  for (int const width : {4, 8})
    for (float const top : {1.f, 1e-30f}) {
      kernel::detail::log_grid const grid(width, 10.f, top);
      std::vector<float> x{top};
      for (int m = 1; m <= grid.last(); ++m) {
        x.push_back(grid.from(m));
        x.push_back(std::nextafter(grid.from(m), 0.f));
      }
      auto const codes = encode(x.data(), x.size(), width, 10.f);
      for (std::size_t i = 1; i < x.size(); ++i) CHECK(code(codes, i, width) == (i + 1) / 2 - (i % 2 == 0 ? 1 : 0));
    }
}

TEST_CASE("kernel/log_code: accumulate, zeros, nothing, not finite") {
  for (auto const n : sizes{1, 33, 1001})
    for (int const width : {4, 6, 8}) {
      sample x(data::normal, n);
      auto const codes = encode(x.get(), n, width, 10.f);
      auto const y = decode(codes, n, width, 10.f);
      guarded<float> sum(std::vector<float>(n, 0.25f));
      kernel::log_accumulate(host{}, codes.get(), n, width, 10.f, -1.f, sum.get());
      bool right = true;
      for (std::size_t i = 0; i < n; ++i) right = right && bits(sum[i]) == bits(0.25f - y[i]);
      kernel::log_accumulate(host{}, codes.get(), n, width, 10.f, 1.f, sum.get());
      for (std::size_t i = 0; i < n; ++i) right = right && bits(sum[i]) == bits((0.25f - y[i]) + y[i]);
      CHECK(right);
      CHECK(sum.intact());

      sample zero(data::zero, n);
      auto const none = encode(zero.get(), n, width, 10.f);
      CHECK(none.values() == std::vector<std::byte>(none.size()));
      CHECK(decode(none, n, width, 10.f) == std::vector<float>(n));

      std::vector<float> partial(kernel::dense_chunks(n));
      std::vector<std::byte> out(kernel::log_bytes(n, width));
      for (float const bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        x[n / 2] = bad;
        CHECK_FALSE(kernel::log_encode(host{}, x.get(), n, width, 10.f, partial.data(), out.data()));
      }
    }
  std::vector<std::byte> out(kernel::log_bytes(0, 8), std::byte{1});
  CHECK(kernel::log_encode(host{}, nullptr, 0, 8, 10.f, nullptr, out.data()));
  CHECK(out == std::vector<std::byte>(4));
}

TEST_CASE("kernel/log_code: every path gives the same codes and values") {
  for (auto const n : sizes{1, 7, 8, 9, 255, 256, 257, 1000, 70001})
    for (int const width : {4, 5, 8})
      for (float const alpha : {0.01f, 10.f, 1e6f})
        for (float const top : {1.f, 3e38f, 1e-37f, 1e-42f}) {
          CAPTURE(n);
          CAPTURE(width);
          CAPTURE(alpha);
          CAPTURE(top);
          kernel::detail::log_grid const grid(width, alpha, top);
          sample x(data::normal, n);
          for (std::size_t i = 0; i < n; ++i) {  // borders, what is next to them, and anything
            auto const border = grid.from(1 + static_cast<int>(i / 4) % grid.last());
            x[i] = i % 4 == 0   ? border
                   : i % 4 == 1 ? -std::nextafter(border, 0.f)
                   : i % 4 == 2 ? 0.2f * top * std::max(-4.f, std::min(4.f, x[i]))
                                : -0.f;
          }
          x[n / 2] = top;
          std::vector<std::vector<float>> values;
          std::vector<guarded<std::byte>> codes;
          for_each_isa([&] {
            codes.push_back(encode(x.get(), n, width, alpha));
            values.push_back(decode(codes.back(), n, width, alpha));
            guarded<float> sum(values_of(x, n));
            kernel::log_accumulate(host{}, codes.back().get(), n, width, alpha, -1.f, sum.get());
            CHECK(sum.intact());
            bool right = true;
            for (std::size_t i = 0; i < n; ++i) right = right && bits(sum[i]) == bits(x[i] - values.back()[i]);
            CHECK(right);
          });
          for (std::size_t path = 1; path < codes.size(); ++path) {
            CHECK(codes[path].same(codes[0]));
            CHECK(same_bits(values[path], values[0]));
          }
        }
}
