// SPDX-License-Identifier: Apache-2.0
#include <gradpress/core/philox.hpp>

#include <doctest/doctest.h>

#include <array>
#include <set>

using namespace gradpress;

namespace {
using words = std::array<std::uint32_t, 4>;

/// Philox4x32-10 as the paper's section 5.3 describes it, with the whole counter.
words textbook(words c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    auto const left = 0xD2511F53ull * c[0], right = 0xCD9E8D57ull * c[2];
    c = {static_cast<std::uint32_t>(right >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(right),
         static_cast<std::uint32_t>(left >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(left)};
    k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
  }
  return c;
}
}  // namespace

TEST_CASE("core/philox: the known answers of Random123") {
  CHECK(textbook({0, 0, 0, 0}, {0, 0}) == words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr auto ones = 0xffffffffu;
  CHECK(textbook({ones, ones, ones, ones}, {ones, ones}) == words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(textbook({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("core/philox: ours is the textbook's, for counters of 64 bits") {
  std::uint64_t s = 1;
  for (int i = 0; i < 1000; ++i) {
    s = s * 6364136223846793005ull + 1442695040888963407ull;
    auto const k = s, c = i % 3 == 0 ? static_cast<std::uint64_t>(i) : ~s * 31;
    auto const expected = textbook({static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0, 0},
                                   {static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(k >> 32)});
    auto const got = philox(k, c);
    for (std::size_t w = 0; w < 4; ++w) REQUIRE(got.word[w] == expected[w]);
  }
}

TEST_CASE("core/philox: keys by name differ, and uniform numbers lie in [0, 1) with mean one half") {
  std::set<std::uint64_t> keys;
  for (std::uint64_t a = 0; a < 32; ++a)
    for (std::uint64_t b = 0; b < 32; ++b) keys.insert(key{7}.with(a).with(b).value);
  CHECK(keys.size() == 32 * 32);
  double sum = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    auto const u = key{3}.uniform(static_cast<std::uint64_t>(i));
    REQUIRE(u >= 0.f);
    REQUIRE(u < 1.f);
    sum += static_cast<double>(u);
  }
  CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
}
