// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/stochastic_int.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>
#include <optional>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;
constexpr auto infinity = std::numeric_limits<float>::infinity();
constexpr std::uint64_t some_key = 0x123456789abcdef;

struct setting {
  int bits;
  std::size_t block;
  bool stochastic;
  std::uint64_t key = some_key;
};

struct encoded {
  guarded<std::byte> codes;
  guarded<float> rest;
  bool finite;

  float scale(std::size_t b) const {
    float s;
    std::memcpy(&s, codes.get() + 4 * b, 4);
    return s;
  }
  /// Bit by bit, as the format says.
  int code(std::size_t i, setting const& s) const {
    auto const first = 32 * ((rest.size() + s.block - 1) / s.block) + i * static_cast<std::size_t>(s.bits);
    int q = 0;
    for (int j = 0; j < s.bits; ++j) {
      auto const at = first + static_cast<std::size_t>(j);
      q |= static_cast<int>(static_cast<unsigned>(codes[at / 8]) >> (at % 8) & 1u) << j;
    }
    return q >= 1 << (s.bits - 1) ? q - (1 << s.bits) : q;
  }
};

encoded encode(float const* g, float const* e, std::size_t n, setting const& s, std::size_t shift = 4) {
  encoded r{guarded<std::byte>(kernel::int_bytes(n, s.bits, s.block)), guarded<float>(n, shift), false};
  r.finite = kernel::int_encode_sum(host{}, g, e, r.rest.get(), n, s.bits, s.block, s.stochastic, s.key, r.codes.get());
  return r;
}

void check_meaning(encoded const& r, float const* g, float const* e, std::size_t n, setting const& s) {
  CHECK(r.finite);
  bool bounded = true, rests = true, range = true;
  for (std::size_t i = 0; i < n; ++i) {
    float const a = e ? g[i] + e[i] : g[i];
    auto const scale = r.scale(i / s.block);
    auto const q = r.code(i, s);
    range = range && std::abs(q) <= kernel::int_levels(s.bits);
    rests = rests && bits(r.rest[i]) == bits(a - static_cast<float>(q) * scale);
    auto const error = std::abs(static_cast<double>(a) - q * static_cast<double>(scale));
    bounded = bounded && error <= static_cast<double>(scale) * (s.stochastic ? 1.0 : 0.5001);
  }
  CHECK(range);
  CHECK(rests);
  CHECK(bounded);
  auto const used = n * static_cast<std::size_t>(s.bits) % 8;
  if (used != 0) CHECK((static_cast<unsigned>(r.codes[r.codes.size() - 1]) >> used) == 0);
}

void check_bytes(std::vector<float> const& x, int width, std::vector<unsigned char> const& expected) {
  for_each_isa([&] {
    auto const r = encode(x.data(), nullptr, x.size(), {width, 64, false});
    REQUIRE(r.codes.size() == expected.size());
    CHECK(std::memcmp(r.codes.get(), expected.data(), expected.size()) == 0);
    CHECK(r.codes.intact());
  });
}

}  // namespace

TEST_CASE("kernel/stochastic_int: bytes") {
  check_bytes({127.f, -127.f, 0.5f, 1.5f, -2.5f, 3.f}, 8, {0, 0, 0x80, 0x3f, 0x7f, 0x81, 0, 2, 0xfe, 3});
  check_bytes({7.f, -7.f, 0.5f, 1.5f, -2.5f, 3.f, -1.f}, 4, {0, 0, 0x80, 0x3f, 0x97, 0x20, 0x3e, 0x0f});
  check_bytes({1.f, -1.f, 0.4f, -0.6f, 1.f}, 2, {0, 0, 0x80, 0x3f, 0xcd, 0x01});
  check_bytes({0.f, -0.f, 0.f}, 4, {0, 0, 0, 0, 0, 0});
  static_assert(kernel::int_bytes(0, 4, 64) == 0);
  static_assert(kernel::int_bytes(65, 4, 64) == 8 + 33);
  static_assert(kernel::int_bytes(65, 2, 64) == 8 + 17);
  static_assert(kernel::int_bytes(65, 8, 128) == 4 + 65);
}

TEST_CASE("kernel/stochastic_int: which random byte belongs to which element") {
  std::size_t const n = 1000;
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 512) - 256) / 256.f;
  for (int const width : {8, 4, 2}) {
    setting const s{width, 64, true};
    auto const levels = kernel::int_levels(width);
    auto y = x;
    for (std::size_t b = 0; b < n; b += 64) y[b] = static_cast<float>(levels);  // so that the scale is 1
    for_each_isa([&] {
      auto const r = encode(y.data(), nullptr, n, s);
      bool right = true;
      for (std::size_t i = 0; i < n; ++i) {
        auto const random = philox(some_key, i / 16);
        auto const byte = random.word[i % 16 / 4] >> (i % 4 * 8) & 255u;
        auto const expected = std::floor((256.0 * static_cast<double>(y[i]) + byte) / 256.0);
        right = right && r.code(i, s) == static_cast<int>(expected);
      }
      CHECK(right);
    });
  }
}

TEST_CASE("kernel/stochastic_int: meaning, and the same width on every path") {
  for (auto const n : sizes{0, 1, 31, 32, 33, 63, 64, 65, 1000, 4097, 100003})
    for (auto const block : sizes{64, 192, 1024, 8192})
      for (int const width : {8, 4, 2})
        for (bool const stochastic : {false, true}) {
          if (n == 100003 && block != 1024) continue;
          setting const s{width, block, stochastic};
          CAPTURE(n);
          CAPTURE(block);
          CAPTURE(width);
          CAPTURE(stochastic);
          for (auto const kind : {data::normal, data::layers, data::zero, data::denormal, data::blocks}) {
            CAPTURE(static_cast<int>(kind));
            sample g(kind, n, 1), e(kind == data::denormal ? kind : data::normal, n, 2);
            for (float const* memory : {static_cast<float const*>(nullptr), static_cast<float const*>(e.get())}) {
              std::optional<encoded> first;
              for_each_isa([&] {
                auto const r = encode(g.get(), memory, n, s);
                if (!first) {
                  check_meaning(r, g.get(), memory, n, s);
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

TEST_CASE("kernel/stochastic_int: without rest the codes are the same") {
  std::size_t const n = 4097;
  sample g(data::layers, n);
  for (int const width : {8, 4, 2})
    for (bool const stochastic : {false, true})
      for_each_isa([&] {
        setting const s{width, 1024, stochastic};
        auto const r = encode(g.get(), nullptr, n, s);
        guarded<std::byte> codes(kernel::int_bytes(n, width, 1024));
        CHECK(kernel::int_encode(host{}, g.get(), n, width, 1024, stochastic, some_key, codes.get()));
        CHECK(codes.same(r.codes));
        CHECK(codes.intact());
      });
}

TEST_CASE("kernel/stochastic_int: decode and accumulate") {
  for (auto const n : sizes{1, 7, 31, 33, 1000, 4097})
    for (int const width : {8, 4, 2}) {
      CAPTURE(n);
      CAPTURE(width);
      setting const s{width, 192, true};
      sample g(data::layers, n);
      for_each_isa([&] {
        auto const r = encode(g.get(), nullptr, n, s);
        guarded<float> x(n), sum(std::vector<float>(n, 0.3f));
        kernel::int_decode(host{}, r.codes.get(), n, width, 192, x.get());
        kernel::int_accumulate(host{}, r.codes.get(), n, width, 192, 1.f, sum.get());
        auto const once = sum.values();
        kernel::int_accumulate(host{}, r.codes.get(), n, width, 192, -1.f, sum.get());
        bool right = true;
        for (std::size_t i = 0; i < n; ++i) {
          auto const v = static_cast<float>(r.code(i, s)) * r.scale(i / 192);
          right =
              right && bits(x[i]) == bits(v) && bits(once[i]) == bits(0.3f + v) && bits(sum[i]) == bits(once[i] - v);
        }
        CHECK(right);
        CHECK(x.intact());
        CHECK(sum.intact());
      });
    }
}

TEST_CASE("kernel/stochastic_int: unbiased over keys") {
  std::size_t const n = 256;
  sample g(data::normal, n);
  for (int const width : {8, 4, 2}) {
    std::vector<double> mean(n);
    float scale = 0;
    int const keys = 4000;
    for (int k = 0; k < keys; ++k) {
      setting const s{width, 256, true, static_cast<std::uint64_t>(k) * std::uint64_t{0x9e3779b97f4a7c15}};
      auto const r = encode(g.get(), nullptr, n, s);
      scale = r.scale(0);
      for (std::size_t i = 0; i < n; ++i) mean[i] += static_cast<double>(g[i] - r.rest[i]) / keys;
    }
    // A code is one of two neighbours: its deviation is at most half a level. Five of them, and the 2^-9 of the byte.
    auto const bound = static_cast<double>(scale) * (5 * 0.5 / std::sqrt(keys) + 1.0 / 512);
    for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(mean[i] - static_cast<double>(g[i])) <= bound);
  }
}

TEST_CASE("kernel/stochastic_int: what is kept may lie where g or the memory was") {
  std::size_t const n = 9003;
  sample g(data::normal, n, 1), e(data::layers, n, 2);
  for (auto const block : sizes{1024, 8192})
    for_each_isa([&] {
      setting const s{4, block, true};
      auto const apart = encode(g.get(), e.get(), n, s);
      for (bool const over_g : {false, true}) {
        sample g2 = g, e2 = e;
        std::vector<std::byte> codes(kernel::int_bytes(n, 4, block));
        float* const rest = over_g ? g2.get() : e2.get();
        CHECK(kernel::int_encode_sum(host{}, g2.get(), e2.get(), rest, n, 4, block, true, some_key, codes.data()));
        CHECK(std::memcmp(codes.data(), apart.codes.get(), codes.size()) == 0);
        CHECK(std::memcmp(rest, apart.rest.get(), n * sizeof(float)) == 0);
      }
    });
}

TEST_CASE("kernel/stochastic_int: large outputs, aligned and not") {
  std::size_t const n = (std::size_t{1} << 20) + 77;
  sample g(data::normal, n, 1), e(data::normal, n, 2);
  std::optional<encoded> first;
  std::optional<guarded<float>> decoded;
  for_each_isa([&] {
    for (auto const shift : sizes{0, 4}) {
      auto const r = encode(g.get(), e.get(), n, {4, 1024, true}, shift);
      if (!first) first = r;
      CHECK(r.codes.same(first->codes));
      CHECK(r.rest.same(first->rest));
      CHECK(r.rest.intact());
      guarded<float> x(n, shift);
      kernel::int_decode(host{}, r.codes.get(), n, 4, 1024, x.get());
      if (!decoded) decoded = x;
      CHECK(x.same(*decoded));
      CHECK(x.intact());
    }
  });
}

TEST_CASE("kernel/stochastic_int: the ends of the range of float") {
  auto const largest = std::numeric_limits<float>::max(), smallest = std::numeric_limits<float>::denorm_min();
  for (int const width : {8, 4, 2})
    for (bool const stochastic : {false, true})
      for (float const top : {largest, smallest, 100 * smallest, 0x1p-126f, 0x1p-60f, 0x1p100f}) {
        std::size_t const n = 133;
        std::vector<float> x(n);
        for (std::size_t i = 0; i < n; ++i) x[i] = top * (static_cast<float>(i % 17) / 8.f - 1.f);
        std::optional<encoded> first;
        for_each_isa([&] {
          setting const s{width, 64, stochastic};
          auto const r = encode(x.data(), nullptr, n, s);
          check_meaning(r, x.data(), nullptr, n, s);
          if (!first) first = r;
          CHECK(r.codes.same(first->codes));
          CHECK(r.rest.same(first->rest));
          std::vector<float> y(n);
          kernel::int_decode(host{}, r.codes.get(), n, width, 64, y.data());
          CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isfinite(v); }));
        });
      }
}

TEST_CASE("kernel/stochastic_int: finite or not") {
  for (auto const n : sizes{1, 33, 1000})
    for (auto const at : {std::size_t{0}, n / 2, n - 1})
      for (auto const bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
        for_each_isa([&] {
          setting const s{8, 1024, true};
          sample g(data::normal, n), e(data::normal, n);
          g[at] = bad;
          CHECK_FALSE(encode(g.get(), nullptr, n, s).finite);
          CHECK_FALSE(encode(e.get(), g.get(), n, s).finite);
          g[at] = e[at] = -3e38f;
          CHECK(encode(g.get(), nullptr, n, s).finite);
          CHECK_FALSE(encode(g.get(), e.get(), n, s).finite);
        });
}
