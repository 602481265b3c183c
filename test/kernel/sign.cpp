// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/sign.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <limits>
#include <optional>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;
constexpr auto infinity = std::numeric_limits<float>::infinity();

struct encoded {
  guarded<std::byte> codes;
  guarded<float> rest;
  bool finite;

  float scale(std::size_t b) const {
    float s;
    std::memcpy(&s, codes.get() + 4 * b, 4);
    return s;
  }
  bool negative(std::size_t i, std::size_t block) const {
    auto const words = 4 * ((rest.size() + block - 1) / block);
    return (static_cast<unsigned>(codes[words + i / 8]) >> (i % 8) & 1u) != 0;
  }
};

encoded encode(float const* g, float const* e, std::size_t n, std::size_t block, std::size_t shift = 4) {
  encoded r{guarded<std::byte>(kernel::sign_bytes(n, block)), guarded<float>(n, shift), false};
  r.finite = kernel::sign_encode_sum(host{}, g, e, r.rest.get(), n, block, r.codes.get());
  return r;
}

/// Against the definition, in double.
void check_meaning(encoded const& r, float const* g, float const* e, std::size_t n, std::size_t block) {
  CHECK(r.finite);
  CHECK(r.codes.intact());
  CHECK(r.rest.intact());
  bool signs = true, rests = true;
  for (std::size_t b = 0; b * block < n; ++b) {
    auto const end = std::min(n, (b + 1) * block);
    double sum = 0, before = 0, after = 0;
    for (auto i = b * block; i < end; ++i) {
      float const a = e ? g[i] + e[i] : g[i];
      sum += std::abs(static_cast<double>(a));
      before += static_cast<double>(a) * static_cast<double>(a);
      after += static_cast<double>(r.rest[i]) * static_cast<double>(r.rest[i]);
      signs = signs && r.negative(i, block) == std::signbit(a);
      rests = rests && bits(r.rest[i]) == bits(a - (std::signbit(a) ? -r.scale(b) : r.scale(b)));
    }
    auto const count = static_cast<double>(end - b * block), mean = sum / count;
    CHECK(static_cast<double>(r.scale(b)) == doctest::Approx(mean).epsilon(1e-5));
    // Scaled sign is a contraction with equality: |a - decoded|^2 = |a|^2 - count * mean^2.
    if (before > 1e-30) CHECK(after == doctest::Approx(before - count * mean * mean).epsilon(1e-3));
  }
  CHECK(signs);
  CHECK(rests);
  for (auto i = n; i < (n + 31) / 32 * 32; ++i) CHECK_FALSE(r.negative(i, block));
}

}  // namespace

TEST_CASE("kernel/sign: bytes") {
  std::vector<float> const x{1.f, -2.f, 3.f, -0.f, -4.f};
  for_each_isa([&] {
    guarded<std::byte> codes(kernel::sign_bytes(5, 32));
    CHECK(kernel::sign_encode(host{}, x.data(), 5, 32, codes.get()));
    unsigned char const expected[] = {0, 0, 0, 0x40, 0x1a, 0, 0, 0};  // 2.0f, then elements 1, 3 and 4
    REQUIRE(codes.size() == sizeof expected);
    CHECK(std::memcmp(codes.get(), expected, sizeof expected) == 0);
    CHECK(codes.intact());
    std::vector<float> y(5);
    kernel::sign_decode(host{}, codes.get(), 5, 32, y.data());
    CHECK(y == std::vector<float>{2.f, -2.f, 2.f, -2.f, -2.f});
  });
  static_assert(kernel::sign_bytes(0, 1024) == 0);
  static_assert(kernel::sign_bytes(33, 32) == 16);
  static_assert(kernel::sign_bytes(1024, 1024) == 132);
}

TEST_CASE("kernel/sign: meaning, and the same bits on every path") {
  for (auto const n : sizes{0, 1, 15, 16, 17, 31, 32, 33, 63, 1000, 4097, 100003})
    for (auto const block : sizes{32, 96, 1024, 4096, 8192}) {
      if (n == 100003 && block != 1024) continue;
      CAPTURE(n);
      CAPTURE(block);
      for (auto const kind : {data::normal, data::layers, data::zero, data::denormal, data::one_hot}) {
        CAPTURE(static_cast<int>(kind));
        sample g(kind, n, 1), e(data::normal, n, 2);
        for (float const* memory : {static_cast<float const*>(nullptr), static_cast<float const*>(e.get())}) {
          std::optional<encoded> first;
          for_each_isa([&] {
            auto const r = encode(g.get(), memory, n, block);
            if (!first) {
              check_meaning(r, g.get(), memory, n, block);
              first = r;
            }
            CHECK(r.finite);
            CHECK(r.codes.same(first->codes));
            CHECK(r.codes.intact());
            CHECK(r.rest.same(first->rest));
            CHECK(r.rest.intact());
          });
        }
      }
    }
}

TEST_CASE("kernel/sign: decode and accumulate") {
  for (auto const n : sizes{1, 31, 33, 1000, 4097}) {
    CAPTURE(n);
    sample g(data::layers, n);
    for_each_isa([&] {
      auto const r = encode(g.get(), nullptr, n, 96);
      guarded<float> x(n), sum(std::vector<float>(n, 0.25f));
      kernel::sign_decode(host{}, r.codes.get(), n, 96, x.get());
      kernel::sign_accumulate(host{}, r.codes.get(), n, 96, 1.f, sum.get());
      auto const once = sum.values();
      kernel::sign_accumulate(host{}, r.codes.get(), n, 96, -1.f, sum.get());
      bool right = true;
      for (std::size_t i = 0; i < n; ++i) {
        auto const v = r.negative(i, 96) ? -r.scale(i / 96) : r.scale(i / 96);
        right = right && bits(x[i]) == bits(v) && bits(once[i]) == bits(0.25f + v) && bits(sum[i]) == bits(once[i] - v);
      }
      CHECK(right);
      CHECK(x.intact());
      CHECK(sum.intact());
    });
  }
}

TEST_CASE("kernel/sign: what is kept may lie where g or the memory was") {
  std::size_t const n = 5003;
  sample g(data::normal, n, 1), e(data::layers, n, 2);
  for (auto const block : sizes{1024, 8192})
    for_each_isa([&] {
      auto const apart = encode(g.get(), e.get(), n, block);
      for (bool const over_g : {false, true}) {
        sample g2 = g, e2 = e;
        std::vector<std::byte> codes(kernel::sign_bytes(n, block));
        float* const rest = over_g ? g2.get() : e2.get();
        CHECK(kernel::sign_encode_sum(host{}, g2.get(), e2.get(), rest, n, block, codes.data()));
        CHECK(std::memcmp(codes.data(), apart.codes.get(), codes.size()) == 0);
        CHECK(std::memcmp(rest, apart.rest.get(), n * sizeof(float)) == 0);
      }
    });
}

TEST_CASE("kernel/sign: large outputs, aligned and not") {
  std::size_t const n = (std::size_t{1} << 20) + 77;
  sample g(data::normal, n, 1), e(data::normal, n, 2);
  std::optional<encoded> first;
  std::optional<guarded<float>> decoded;
  for_each_isa([&] {
    for (auto const shift : sizes{0, 4, 32}) {
      auto const r = encode(g.get(), e.get(), n, 1024, shift);
      if (!first) first = r;
      CHECK(r.codes.same(first->codes));
      CHECK(r.rest.same(first->rest));
      CHECK(r.rest.intact());
      guarded<float> x(n, shift);
      kernel::sign_decode(host{}, r.codes.get(), n, 1024, x.get());
      if (!decoded) decoded = x;
      CHECK(x.same(*decoded));
      CHECK(x.intact());
    }
  });
}

TEST_CASE("kernel/sign: finite or not") {
  for (auto const n : sizes{1, 33, 1000, 2081})
    for (auto const at : {std::size_t{0}, n / 2, n - 1})
      for (auto const bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
        for_each_isa([&] {
          sample g(data::normal, n), e(data::normal, n);
          g[at] = bad;
          CHECK_FALSE(encode(g.get(), nullptr, n, 1024).finite);
          CHECK_FALSE(encode(e.get(), g.get(), n, 1024).finite);
          std::vector<std::byte> codes(kernel::sign_bytes(n, 1024));
          CHECK_FALSE(kernel::sign_encode(host{}, g.get(), n, 1024, codes.data()));
          g[at] = 3e38f;
          e[at] = 3e38f;
          CHECK_FALSE(encode(g.get(), e.get(), n, 1024).finite);
        });
  // The sum over a block leaves the range of float, the mean does not.
  std::vector<float> const x(2000, -3e38f);
  for_each_isa([&] {
    auto const r = encode(x.data(), nullptr, x.size(), 1024);
    CHECK(r.finite);
    CHECK(r.scale(0) == 3e38f);
    CHECK(r.scale(1) == 3e38f);
    CHECK(r.rest[1999] == 0.f);
  });
}
