// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/cast.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <optional>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;

template <class T>
float largest() {
  return std::bit_cast<float>(std::is_same_v<T, float16> ? 0x477fe000u : 0x7f7f7fffu);
}

template <class T>
void check_against_scalar(float const* g, float const* e, std::size_t n, std::size_t shift) {
  for_each_isa([&] {
    guarded<T> out(n), plain(n);
    guarded<float> rest(n, shift);
    CHECK(kernel::cast_encode_sum<T>(host{}, g, e, rest.get(), n, out.get()));
    bool right = true;
    for (std::size_t i = 0; i < n; ++i) {
      auto const a = e ? g[i] + e[i] : g[i];
      right = right && out[i] == narrow<T>(a) && bits(rest[i]) == bits(a - to_float(narrow<T>(a)));
    }
    CHECK(right);
    CHECK(out.intact());
    CHECK(rest.intact());
    if (!e) {
      CHECK(kernel::cast_encode<T>(host{}, g, n, plain.get()));
      CHECK(plain.same(out));
      CHECK(plain.intact());
    }
    guarded<float> x(n, shift), sum(std::vector<float>(n, 0.25f), shift);
    kernel::cast_decode<T>(host{}, out.get(), n, x.get());
    kernel::cast_accumulate<T>(host{}, out.get(), n, 1.f, sum.get());
    auto const once = sum.values();
    kernel::cast_accumulate<T>(host{}, out.get(), n, -1.f, sum.get());
    for (std::size_t i = 0; i < n; ++i) {
      auto const v = to_float(out[i]);
      right = right && bits(x[i]) == bits(v) && bits(once[i]) == bits(0.25f + v) && bits(sum[i]) == bits(once[i] - v);
    }
    CHECK(right);
    CHECK(x.intact());
    CHECK(sum.intact());
  });
}

template <class T>
void check_limits() {
  auto const infinity = std::numeric_limits<float>::infinity();
  for (auto const n : sizes{1, 33, 1000})
    for (auto const at : {std::size_t{0}, n / 2, n - 1})
      for_each_isa([&] {
        sample g(data::normal, n), e(data::zero, n);
        std::vector<T> out(n);
        std::vector<float> rest(n);
        for (float const sign : {1.f, -1.f}) {
          g[at] = sign * largest<T>();
          CHECK(kernel::cast_encode<T>(host{}, g.get(), n, out.data()));
          CHECK(std::isfinite(to_float(out[at])));
          for (float const bad :
               {std::nextafter(largest<T>(), infinity), infinity, std::numeric_limits<float>::quiet_NaN()}) {
            g[at] = sign * bad;
            CHECK_FALSE(kernel::cast_encode<T>(host{}, g.get(), n, out.data()));
            CHECK_FALSE(kernel::cast_encode_sum<T>(host{}, e.get(), g.get(), rest.data(), n, out.data()));
          }
        }
      });
}

}  // namespace

TEST_CASE_TEMPLATE("kernel/cast: what the scalar conversion gives, on every path", T, bfloat16, float16) {
  static_assert(kernel::cast_bytes(33) == 66);
  for (auto const n : sizes{0, 1, 15, 16, 17, 31, 32, 33, 1000, 4097, 100003})
    for (auto const kind : {data::normal, data::denormal, data::layers, data::zero}) {
      CAPTURE(n);
      CAPTURE(static_cast<int>(kind));
      sample g(kind, n, 1), e(data::normal, n, 2);
      check_against_scalar<T>(g.get(), nullptr, n, 4);
      check_against_scalar<T>(g.get(), e.get(), n, 4);
    }
}

TEST_CASE_TEMPLATE("kernel/cast: floats of all sizes", T, bfloat16, float16) {
  std::vector<float> x;
  for (std::uint64_t u = 0; u < std::uint64_t{1} << 32; u += 12289) {
    auto const f = std::bit_cast<float>(static_cast<std::uint32_t>(u));
    if (std::abs(f) <= largest<T>()) x.push_back(f);
  }
  for (std::uint32_t h = 0; h < 0x7c00; ++h) {  // ties of fp16, and of bf16 in their neighbourhood
    x.push_back(
        (to_float(float16{static_cast<std::uint16_t>(h)}) + to_float(float16{static_cast<std::uint16_t>(h + 1)})) / 2);
    x.push_back(std::bit_cast<float>(h << 16 | 0x8000u));
  }
  std::erase_if(x, [](float f) { return !(std::abs(f) <= largest<T>()); });
  check_against_scalar<T>(x.data(), nullptr, x.size(), 4);
}

TEST_CASE_TEMPLATE("kernel/cast: large outputs, aligned and not", T, bfloat16, float16) {
  std::size_t const n = (std::size_t{1} << 20) + 77;
  sample g(data::normal, n, 1), e(data::normal, n, 2);
  for (auto const shift : sizes{0, 4}) check_against_scalar<T>(g.get(), e.get(), n, shift);
}

TEST_CASE("kernel/cast: bytes") {
  std::vector<float> const x{1.f, -2.f, 65504.f, 0x1p-24f, 0.1f};
  for_each_isa([&] {
    std::vector<bfloat16> b(5);
    std::vector<float16> h(5);
    CHECK(kernel::cast_encode<bfloat16>(host{}, x.data(), 5, b.data()));
    CHECK(kernel::cast_encode<float16>(host{}, x.data(), 5, h.data()));
    CHECK(b == std::vector<bfloat16>{{0x3f80}, {0xc000}, {0x4780}, {0x3380}, {0x3dcd}});
    CHECK(h == std::vector<float16>{{0x3c00}, {0xc000}, {0x7bff}, {0x0001}, {0x2e66}});
  });
}

TEST_CASE("kernel/cast: what does not fit") {
  check_limits<bfloat16>();
  check_limits<float16>();
}

TEST_CASE("kernel/cast: what is kept may lie where g or the memory was") {
  std::size_t const n = 5003;
  sample g(data::normal, n, 1), e(data::layers, n, 2);
  for_each_isa([&] {
    std::vector<float> apart(n);
    std::vector<bfloat16> out(n), again(n);
    CHECK(kernel::cast_encode_sum<bfloat16>(host{}, g.get(), e.get(), apart.data(), n, out.data()));
    sample g2 = g, e2 = e;
    CHECK(kernel::cast_encode_sum<bfloat16>(host{}, g.get(), e2.get(), e2.get(), n, again.data()));
    CHECK(again == out);
    CHECK(std::memcmp(e2.get(), apart.data(), n * sizeof(float)) == 0);
    CHECK(kernel::cast_encode_sum<bfloat16>(host{}, g2.get(), e.get(), g2.get(), n, again.data()));
    CHECK(std::memcmp(g2.get(), apart.data(), n * sizeof(float)) == 0);
  });
}

namespace {
template <class T>
void check_finiteness_of_codes() {
  for (std::size_t const n : {1u, 3u, 4u, 5u, 8u, 11u})
    for (std::size_t at = 0; at < n; ++at)
      for (std::uint32_t bits = 0; bits < 0x10000; bits += n == 5 ? 1 : 61) {
        auto const neighbour = std::bit_cast<T>(static_cast<std::uint16_t>(~bits & 0xbbff));  // never all ones
        std::vector<T> codes(n, neighbour);
        codes[at] = std::bit_cast<T>(static_cast<std::uint16_t>(bits));
        if (kernel::cast_finite(codes.data(), n) != std::isfinite(to_float(codes[at]))) {
          CAPTURE(n);
          CAPTURE(at);
          CAPTURE(bits);
          FAIL("cast_finite is wrong");
        }
      }
  CHECK(kernel::cast_finite<T>(nullptr, 0));
}
}  // namespace

TEST_CASE("kernel: cast_finite finds the codes of infinity and NaN, wherever they stand") {
  check_finiteness_of_codes<bfloat16>();
  check_finiteness_of_codes<float16>();
}
