// SPDX-License-Identifier: Apache-2.0
#include <gradpress/core/checksum.hpp>

#include <doctest/doctest.h>

#include <set>
#include <vector>

using namespace gradpress;

namespace {
std::vector<std::byte> some_bytes(std::size_t n) {
  std::vector<std::byte> b(n);
  std::uint32_t s = 17;
  for (auto& x : b) x = static_cast<std::byte>((s = s * 1664525u + 1013904223u) >> 24);
  return b;
}
}  // namespace

TEST_CASE("core/checksum: every flipped bit is seen, at every length") {
  for (std::size_t n = 1; n <= 100; ++n) {
    auto b = some_bytes(n);
    auto const right = checksum(b);
    CHECK(checksum(b) == right);
    for (std::size_t bit = 0; bit < 8 * n; ++bit) {
      b[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      REQUIRE(checksum(b) != right);
      b[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
  }
}

TEST_CASE("core/checksum: bytes that are missing, added or exchanged are seen, zeros too") {
  std::set<std::uint64_t> of_zeros;
  for (std::size_t n = 0; n <= 200; ++n) of_zeros.insert(checksum(std::vector<std::byte>(n)));
  CHECK(of_zeros.size() == 201);
  auto b = some_bytes(200);
  auto const right = checksum(b);
  for (std::size_t i = 0; i < b.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      if (b[i] == b[j]) continue;
      std::swap(b[i], b[j]);
      REQUIRE(checksum(b) != right);
      std::swap(b[i], b[j]);
    }
}
