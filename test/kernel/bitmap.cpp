// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/bitmap.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
/// Each of 8 * size positions with probability 1 in `every`.
std::vector<index_t> some_of(std::size_t size, unsigned every) {
  std::mt19937 random(static_cast<unsigned>(size) + every);
  std::vector<index_t> at;
  for (std::size_t i = 0; i < 8 * size; ++i)
    if (random() % every == 0) at.push_back(static_cast<index_t>(i));
  return at;
}
}  // namespace

TEST_CASE("kernel::write_bits sets the bits that are named and clears the others, kernel::read_bits finds them") {
  for_each_isa([] {
    for (std::size_t const size : {0u, 4u, 8u, 60u, 508u, 512u, 516u, 1020u, 1024u, 1028u, 5000u})
      for (unsigned const every : {1u, 2u, 30u, 64u, 1000u}) {
        CAPTURE(size);
        CAPTURE(every);
        auto const at = some_of(size, every);
        guarded<std::byte> bits(size);
        if (size > 0) std::memset(bits.get(), 0x5a, size);
        kernel::write_bits(at.data(), at.size(), size, bits.get());
        CHECK(bits.intact());
        std::vector<std::byte> plain(size);
        for (auto const i : at) plain[i / 8] |= std::byte{1} << i % 8;
        CHECK(std::equal(plain.begin(), plain.end(), bits.get()));
        guarded<index_t> found(at.size());
        REQUIRE(kernel::read_bits(bits.get(), size, at.size(), found.get()) == at.size());
        CHECK(found.intact());
        CHECK(std::equal(at.begin(), at.end(), found.get()));
      }
  });
}

TEST_CASE("kernel::read_bits writes no more than there is room for, and says that there was more") {
  for_each_isa([] {
    for (unsigned const every : {1u, 5u, 40u, 300u}) {
      auto const at = some_of(1300, every);
      std::vector<std::byte> bits(1300);
      kernel::write_bits(at.data(), at.size(), bits.size(), bits.data());
      for (std::size_t k = 0; k < at.size() + 3; k += 1 + k / 7) {
        CAPTURE(k);
        guarded<index_t> found(k);
        auto const count = kernel::read_bits(bits.data(), bits.size(), k, found.get());
        CHECK(found.intact());
        CHECK(count == (k < at.size() ? k + 1 : at.size()));
        CHECK(std::equal(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(std::min(k, at.size())), found.get()));
      }
    }
  });
}
