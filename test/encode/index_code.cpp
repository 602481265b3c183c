// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/smallest_index.hpp>

#include "../concepts/index_code_laws.hpp"

#include <cmath>
#include <functional>
#include <optional>

using namespace gradpress;
using namespace gradpress::test;

namespace {
struct no_read : raw_index {
  bool read(std::byte const*) const { return true; }
};
std::string hex(std::vector<std::byte> const& bytes) {
  std::string text;
  for (auto const b : bytes) {
    text += "0123456789abcdef"[std::to_integer<int>(b) / 16];
    text += "0123456789abcdef"[std::to_integer<int>(b) % 16];
  }
  return text;
}
/// Bits that k of n need at least, a position: log2 of n over k, divided by k.
double entropy(double n, double k) {
  return (std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1)) / std::log(2.) / k;
}
}  // namespace
static_assert(index_code<elias_fano> && index_code<smallest_index>);
static_assert(!index_code<no_read>);
static_assert(leaves_indices_raw<raw_index> && !leaves_indices_raw<bitmap_index>);

TEST_CASE("encode: index codes obey their laws") {
  SUBCASE("raw_index") { check_index_code(raw_index{}); }
  SUBCASE("local_index") { check_index_code(local_index{}); }
  SUBCASE("bitmap_index") { check_index_code(bitmap_index{}); }
  SUBCASE("elias_fano") { check_index_code(elias_fano{}); }
  SUBCASE("smallest_index") { check_index_code(smallest_index{}); }
}

TEST_CASE("encode: the bytes of index codes, by hand") {
  positions const at = {1, 4, 5, 12};  // of 16
  CHECK(hex(written(raw_index{}, at, 16)) == "0100000004000000050000000c000000");
  CHECK(hex(written(local_index{}, at, 16)) ==
        "04000000"
        "0100"
        "0400"
        "0500"
        "0c00");
  CHECK(hex(written(bitmap_index{}, at, 16)) == "32100000");
  // l = 2: lower bits 1, 0, 1, 0 are 00 01 00 01 from the top; upper parts 0, 1, 1, 3 set the bits 0, 2, 3, 6
  CHECK(hex(written(elias_fano{}, at, 16)) ==
        "11000000"
        "4d000000");
}

TEST_CASE("encode: the sizes of index codes are what their pages say") {
  for (std::size_t const n : {1u, 100u, 65536u, 65537u, 1000000u})
    for (std::size_t const k : {std::size_t{1}, n / 1000, n / 10, n}) {
      if (k == 0) continue;
      CHECK(raw_index{}.index_bytes(n, k) == 4 * k);
      CHECK(local_index{}.index_bytes(n, k) == 4 * ((n + 65535) / 65536) + padded(2 * k));
      CHECK(bitmap_index{}.index_bytes(n, k) == padded((n + 7) / 8));
      auto const l = static_cast<std::size_t>(std::floor(std::log2(static_cast<double>(n) / static_cast<double>(k))));
      CHECK(elias_fano{}.index_bytes(n, k) == padded((k * l + 7) / 8) + padded((k + ((n - 1) >> l) + 7) / 8));
      CHECK(smallest_index{}.index_bytes(n, k) ==
            std::min({raw_index{}.index_bytes(n, k), local_index{}.index_bytes(n, k), bitmap_index{}.index_bytes(n, k),
                      elias_fano{}.index_bytes(n, k)}));
    }
}

TEST_CASE("encode::smallest_index needs at most the entropy, five per cent and half a bit; elias_fano up to a fifth") {
  std::size_t const n = 25600000;
  for (double const density : {1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5}) {
    auto const k = static_cast<std::size_t>(density * static_cast<double>(n));
    auto const bits_of = [&](auto const& code) {
      return 8. * static_cast<double>(code.index_bytes(n, k)) / static_cast<double>(k);
    };
    auto const least = entropy(static_cast<double>(n), static_cast<double>(k));
    CAPTURE(density);
    CAPTURE(least);
    CHECK(bits_of(smallest_index{}) >= least);
    CHECK(bits_of(smallest_index{}) <= 1.05 * least + 0.5);
    if (density <= 0.2) CHECK(bits_of(elias_fano{}) <= 1.05 * least + 0.5);
  }
}

TEST_CASE("encode::smallest_index takes each code where it is the smallest") {
  auto const size = [](std::size_t n, std::size_t k) { return smallest_index{}.index_bytes(n, k); };
  CHECK(size(25600000, 25600) == elias_fano{}.index_bytes(25600000, 25600));
  CHECK(size(25600000, 25600) < 4 * 25600 / 2);
  CHECK(size(1000, 600) == bitmap_index{}.index_bytes(1000, 600));
  CHECK(size(1u << 30, 1) == raw_index{}.index_bytes(1u << 30, 1));
}
