// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/chunks.hpp>

#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/sign_bits.hpp>

#include "../support/lone_rank.hpp"

using namespace gradpress;

static_assert(detail::chunk_of(10, 1, 3, 1) == std::pair<std::size_t, std::size_t>{4, 4});
static_assert(detail::chunk_of(10, 2, 3, 1) == std::pair<std::size_t, std::size_t>{8, 2});
static_assert(detail::chunk_of(10, 1, 2, 8) == std::pair<std::size_t, std::size_t>{8, 2});
static_assert(detail::chunk_of(10, 2, 4, 8) == std::pair<std::size_t, std::size_t>{10, 0});

TEST_CASE("chunks lie end to end, begin at whole grains, and none is longer than the first") {
  for (auto const m : test::law_sizes)
    for (int world = 1; world <= 9; ++world)
      for (auto const grain : {1u, 8u, 32u, 64u}) {
        CAPTURE(m);
        CAPTURE(world);
        CAPTURE(grain);
        auto const longest = detail::chunk_of(m, 0, world, grain).second;
        std::size_t at = 0;
        for (int p = 0; p < world; ++p) {
          auto const [from, length] = detail::chunk_of(m, p, world, grain);
          REQUIRE(from == at);
          CHECK((length == 0 || from % grain == 0));
          CHECK(length <= longest);
          at += length;
        }
        CHECK(at == m);
      }
}

TEST_CASE("a quantizer that says nothing of grains codes each value by itself") {
  CHECK(detail::grain_of(unquantized{}) == 1);
  CHECK(detail::grain_of(sign_bits{}) == 32);
}
