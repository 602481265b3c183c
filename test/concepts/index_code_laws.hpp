// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every IndexCode must do. Call `check_index_code` from the test of a code.

#include <gradpress/concepts/index_code.hpp>
#include <gradpress/core/philox.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <numeric>
#include <optional>
#include <set>

namespace gradpress::test {

using positions = std::vector<index_t>;

/// k of n, drawn evenly, ascending.
inline positions drawn(std::size_t n, std::size_t k, std::uint64_t seed = 1) {
  positions at(n);
  std::iota(at.begin(), at.end(), index_t{0});
  for (std::size_t i = 0; i < k; ++i) {
    auto const j = i + static_cast<std::size_t>(static_cast<double>(key{seed}.uniform(i)) * static_cast<double>(n - i));
    std::swap(at[i], at[std::min(j, n - 1)]);
  }
  at.resize(k);
  std::sort(at.begin(), at.end());
  return at;
}

template <index_code I>
std::vector<std::byte> written(I const& code, positions const& at, std::size_t n) {
  guarded<std::byte> out(code.index_bytes(n, at.size()));
  std::memset(out.get(), 0x5a, out.size());  // what lies there must not shine through
  code.write(at.data(), at.size(), n, out.get());
  CHECK(out.intact());
  return {out.get(), out.get() + out.size()};
}
/// What the bytes say, or nothing.
template <index_code I>
std::optional<positions> understood(I const& code, std::vector<std::byte> const& bytes, std::size_t n, std::size_t k) {
  guarded<std::byte> in(bytes.size());
  if (!bytes.empty()) std::memcpy(in.get(), bytes.data(), bytes.size());
  guarded<index_t> at(k);
  auto const good = code.read(in.get(), k, n, at.get());
  CHECK(at.intact());
  if (!good) return {};
  return positions(at.get(), at.get() + k);
}

template <index_code I>
void check_positions(I const& code, positions const& at, std::size_t n) {
  CAPTURE(n);
  CAPTURE(at.size());
  auto const bytes = written(code, at, n);
  CHECK(bytes.size() % 4 == 0);
  CHECK(understood(code, bytes, n, at.size()) == at);
  // One set of positions has one code: whatever else is accepted means other positions.
  auto const bits = 8 * bytes.size(), every = std::max<std::size_t>(1, bits / 200);
  for (std::size_t b = 0; b < bits; b += every) {
    auto mutated = bytes;
    mutated[b / 8] ^= std::byte{1} << b % 8;
    auto const other = understood(code, mutated, n, at.size());
    if (!other) continue;
    CAPTURE(b);
    CHECK(*other != at);
    CHECK(std::adjacent_find(other->begin(), other->end(), std::greater_equal<>{}) == other->end());
    CHECK((other->empty() || other->back() < n));
  }
}

template <index_code I>
void check_index_code(I const& code) {
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u, 65535u, 65536u, 65537u, 200000u})
    for (std::size_t const k :
         {std::size_t{0}, std::size_t{1}, std::size_t{2}, n / 1000, n / 100, n / 7, n / 2, n - n / 5, n})
      if (k <= n) {
        check_positions(code, drawn(n, k, n + k), n);
        positions first(k), last(k);
        std::iota(first.begin(), first.end(), index_t{0});
        std::iota(last.begin(), last.end(), static_cast<index_t>(n - k));
        check_positions(code, first, n);
        check_positions(code, last, n);
      }
  // Every set of positions among few elements has a code of its own.
  for (std::size_t const n : {5u, 9u}) {
    std::set<std::vector<std::byte>> seen;
    for (unsigned mask = 0; mask < 1u << n; ++mask) {
      positions at;
      for (index_t i = 0; i < n; ++i)
        if (mask >> i & 1) at.push_back(i);
      auto bytes = written(code, at, n);
      CHECK(understood(code, bytes, n, at.size()) == at);
      bytes.push_back(static_cast<std::byte>(at.size()));
      seen.insert(bytes);
    }
    CHECK(seen.size() == 1u << n);
  }
  // Noise is refused or means something legal, and is never written past the end.
  for (std::uint64_t s = 0; s < 2000; ++s) {
    auto const n = 1 + static_cast<std::size_t>(key{s}.uniform(0) * 500),
               k = static_cast<std::size_t>(key{s}.uniform(1) * static_cast<float>(n));
    std::vector<std::byte> bytes(code.index_bytes(n, k));
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(key{s}.uniform(i + 2) * 256);
    if (auto const at = understood(code, bytes, n, k)) {
      CHECK(std::adjacent_find(at->begin(), at->end(), std::greater_equal<>{}) == at->end());
      CHECK((at->empty() || at->back() < n));
      CHECK(written(code, *at, n) == bytes);
    }
  }
}

}  // namespace gradpress::test
