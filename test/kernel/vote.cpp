// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/vote.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/lone_rank.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
bool bit(std::vector<std::byte> const& words, std::size_t i) {
  return (static_cast<unsigned>(words[i / 8]) >> i % 8 & 1u) != 0;
}
}  // namespace

TEST_CASE("kernel::vote: signs there and back, on every path, and nothing beyond") {
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u, 32768u, 70001u}) {
    auto const x = heavy_tailed(n);
    for_each_isa([&] {
      guarded<std::byte> words(4 * kernel::sign_words(n));
      floats room(kernel::encode_signs_workspace(n));
      CHECK(kernel::encode_signs(host{}, x.data(), n, words.get(), room.data()));
      CHECK(words.intact());
      guarded<float> y(n), z(x);
      kernel::decode_signs(host{}, words.get(), n, 1.f, y.get());
      kernel::accumulate_signs(host{}, words.get(), n, -1.f, z.get());
      CHECK(y.intact());
      CHECK(z.intact());
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < n; ++i) {
        auto const sign = std::copysign(1.f, x[i]);
        wrong += y.get()[i] != sign || z.get()[i] != x[i] - sign;
      }
      CHECK(wrong == 0);
    });
  }
}

TEST_CASE("kernel::vote: NaN and infinity are seen wherever they stand") {
  for (std::size_t const at : {0u, 5u, 1500u, 1999u})
    for (float const bad : not_finite) {
      auto x = heavy_tailed(2000);
      x[at] = bad;
      std::vector<std::byte> words(4 * kernel::sign_words(2000));
      floats room(kernel::encode_signs_workspace(2000));
      CHECK_FALSE(kernel::encode_signs(host{}, x.data(), 2000, words.data(), room.data()));
    }
}

TEST_CASE("kernel::vote: more than half wins and half is a tie, for any number of voters") {
  for (std::size_t voters = 0; voters <= 40; ++voters)
    for (std::size_t const n : {1u, 31u, 32u, 33u, 2047u, 2049u}) {
      CAPTURE(voters);
      CAPTURE(n);
      std::vector<std::vector<std::byte>> bits(voters, std::vector<std::byte>(4 * kernel::sign_words(n)));
      std::vector<std::byte const*> votes;
      for (std::size_t v = 0; v < voters; ++v) {  // bits beyond n are set, too, as a liar's might be
        for (std::size_t b = 0; b < bits[v].size(); ++b) bits[v][b] = static_cast<std::byte>(key{v + 7}.bits(b));
        votes.push_back(bits[v].data());
      }
      guarded<std::byte> negative(4 * kernel::sign_words(n)), tied(4 * kernel::sign_words(n));
      kernel::count_votes(host{}, votes.data(), voters, n, negative.get(), tied.get());
      CHECK(negative.intact());
      CHECK(tied.intact());
      auto const won = negative.values(), even = tied.values();
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < 8 * won.size(); ++i) {
        std::size_t count = 0;
        for (auto const& b : bits) count += bit(b, i);
        wrong += bit(won, i) != (i < n && 2 * count > voters) || bit(even, i) != (i < n && 2 * count == voters);
      }
      CHECK(wrong == 0);
    }
}
