// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/kth.hpp>

#include "../support/kernel_cases.hpp"

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

TEST_CASE("finds the k-th magnitude and its ties from any starting range") {
  Kokkos::DefaultHostExecutionSpace const exec;
  std::vector<std::uint32_t> words(kernel::kth_words);
  for (std::size_t n : {1u, 31u, 1000u, 4097u, 40000u})
    for (auto kind : all_data) {
      sample const x(kind, n);
      std::vector<std::uint32_t> sorted(n);
      for (std::size_t i = 0; i < n; ++i) sorted[i] = size_of(x[i]);
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      for (std::size_t k : {std::size_t{1}, n / 100 + 1, n / 2 + 1, n}) {
        auto const value = sorted[k - 1];
        auto const first = std::find(sorted.begin(), sorted.end(), value) - sorted.begin();
        auto const level = static_cast<std::size_t>(std::count(sorted.begin(), sorted.end(), value));
        auto const check = [&](kernel::kth_magnitude found) {
          CHECK(found.value == value);
          CHECK(found.ties == k - static_cast<std::size_t>(first));
          CHECK(found.level == level);
        };
        check(kernel::find_kth(x.get(), n, k, words.data()));
        check(kernel::find_kth(exec, x.get(), n, k, n, 0, 0x80000000u, words.data()));
        check(kernel::find_kth(exec, x.get(), n, k, n, 0, 1, words.data()));
        check(kernel::find_kth(exec, x.get(), n, k, n, 0, value + 1, words.data()));
        // From a bound that some entries do not reach.
        auto const low = value > 5 ? value - 5 : value;
        auto const total = static_cast<std::size_t>(
            std::count_if(sorted.begin(), sorted.end(), [&](std::uint32_t m) { return m >= low; }));
        for (std::uint32_t width : {1u, 3u, 10u, 2049u, 1u << 20})
          check(kernel::find_kth(exec, x.get(), n, k, total, low, low + width, words.data()));
      }
    }
}

TEST_CASE("values that are not finite are ordered by their bits") {
  float const x[] = {1.0f, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 3.0f};
  std::vector<std::uint32_t> words(kernel::kth_words_serial);
  CHECK(kernel::find_kth(x, 4, 1, words.data()).value == size_of(x[2]));
  CHECK(kernel::find_kth(x, 4, 2, words.data()).value == size_of(x[1]));
  CHECK(kernel::find_kth(x, 4, 3, words.data()).value == size_of(x[3]));
}
