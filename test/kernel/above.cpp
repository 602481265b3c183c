// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/above.hpp>

#include "../support/kernel_cases.hpp"

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("magnitudes order like absolute values, NaN above infinity above the rest") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  CHECK(kernel::magnitude(-0.0f) == kernel::magnitude(0.0f));
  CHECK(kernel::magnitude(1e-45f) > 0);
  CHECK(kernel::magnitude(-2.0f) > kernel::magnitude(1.999f));
  CHECK(kernel::magnitude(infinity) == kernel::not_finite);
  CHECK(kernel::magnitude(std::numeric_limits<float>::max()) < kernel::not_finite);
  CHECK(kernel::magnitude(std::numeric_limits<float>::quiet_NaN()) > kernel::not_finite);
}

TEST_CASE("chunks cover every element once, and inner borders lie on cache lines") {
  std::vector<float> memory(70000);
  for (std::size_t shift : {0u, 1u, 3u, 15u, 16u})
    for (std::size_t n : {0u, 1u, 31u, 32769u, 65536u, 65537u}) {
      kernel::line_chunks const chunks(memory.data() + shift, n);
      CHECK(chunks.count() <= kernel::line_chunks::bound(n));
      std::size_t next = 0;
      for (std::size_t c = 0; c < chunks.count(); ++c) {
        CHECK(chunks.begin(c) == next);
        next = chunks.end(c);
        CHECK(next - chunks.begin(c) <= kernel::line_chunks::grain);
        if (next != n) CHECK(reinterpret_cast<std::uintptr_t>(memory.data() + shift + next) % 64 == 0);
      }
      CHECK(next == n);
    }
}

TEST_CASE("marks what reaches the threshold, and lists it in order") {
  for_each_isa([] {
    auto const how = kernel::current_isa();
    for (std::size_t n : {0u, 1u, 31u, 32u, 33u, 63u, 64u, 65u, 1000u, 4097u, 16000u, 32768u}) {
      sample const x(data::normal, n);
      for (float tau : {0.0f, 1e-45f, 0.01f, 1.0f, 2.0f, 3.0f, 3.9f, 100.0f}) {
        kernel::chunk_mask mask;
        auto const count = kernel::mark_above(how, {x.get()}, 0, n, kernel::magnitude(tau), mask);
        std::vector<index_t> expected;
        for (std::size_t i = 0; i < n; ++i)
          if (std::fabs(x[i]) >= tau) expected.push_back(static_cast<index_t>(i + 7));
        REQUIRE(count == expected.size());
        std::vector<index_t> listed(count + 1, 12345);
        kernel::list_marked(how, mask, 7, count, listed.data());
        CHECK(listed.back() == 12345);
        listed.pop_back();
        CHECK(listed == expected);
        for (std::size_t i = n; i % 64 != 0; ++i) CHECK((mask.word[i / 64] >> i % 64 & 1) == 0);
      }
    }
  });
}

TEST_CASE("marks a sum, writes it, in place and streamed, with the same bits") {
  for_each_isa([] {
    auto const how = kernel::current_isa();
    for (std::size_t n : {0u, 1u, 33u, 1000u, 4097u, 9000u, 32768u}) {
      sample const g(data::normal, n, 1), e(data::normal, n, 2);
      std::vector<float> expected(n);
      for (std::size_t i = 0; i < n; ++i) expected[i] = g[i] + e[i];
      kernel::chunk_mask plain, mask;
      auto const count = kernel::mark_above(how, {expected.data()}, 0, n, kernel::magnitude(2.0f), plain);
      auto const check = [&](kernel::marked_input in) {
        CHECK(kernel::mark_above(how, in, 0, n, kernel::magnitude(2.0f), mask) == count);
        CHECK(std::equal(mask.word, mask.word + (n + 63) / 64, plain.word));
        CHECK(
            std::equal(expected.begin(), expected.end(), in.sum, [](float a, float b) { return bits(a) == bits(b); }));
      };
      std::vector<float> out(n + 32);
      check({g.get(), e.get(), out.data()});
      auto* line = out.data();
      while (reinterpret_cast<std::uintptr_t>(line) % 64 != 0) ++line;
      std::fill(out.begin(), out.end(), 0.0f);
      check({g.get(), e.get(), line, true});
      sample in_place(data::normal, n, 2);
      check({g.get(), in_place.get(), in_place.get()});
    }
  });
}
