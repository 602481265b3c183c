// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/compact.hpp>

#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr auto infinity = std::numeric_limits<float>::infinity();
constexpr auto not_a_number = std::numeric_limits<float>::quiet_NaN();

struct result {
  std::vector<index_t> kept;
  bool finite = false;
};
result compact(sample const& x, std::size_t n, float tau) {
  constexpr index_t guard = 0xabcdef;
  std::vector<index_t> kept(n + 1, guard);
  std::vector<std::size_t> counts(kernel::compact_chunks(n) + 1, 99);
  result r;
  auto const count = kernel::compact_positions(Kokkos::DefaultHostExecutionSpace{}, x.get(), n, tau, kept.data(),
                                               counts.data(), r.finite);
  CHECK(kept.back() == guard);
  CHECK(counts.back() == 99);
  kept.resize(count);
  r.kept = kept;
  return r;
}
}  // namespace

TEST_CASE("keeps exactly the entries that reach the threshold") {
  for (std::size_t n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u, 100003u})
    for (auto kind : {data::normal, data::equal, data::zero, data::denormal}) {
      sample const x(kind, n);
      for (float tau : {-1.0f, -0.0f, 1e-45f, 1e-40f, 1.5f, 2.5f, infinity}) {
        std::vector<index_t> expected;
        for (std::size_t i = 0; i < n; ++i)
          if (std::fabs(x[i]) >= tau) expected.push_back(static_cast<index_t>(i));
        for_each_isa([&] {
          auto const r = compact(x, n, tau);
          CHECK(r.finite);
          CHECK(r.kept == expected);
        });
      }
    }
}

TEST_CASE("brings the values of what it keeps along") {
  for (std::size_t n : {0u, 33u, 100003u})
    for (auto kind : {data::normal, data::mostly_zero}) {
      sample const x(kind, n);
      for_each_isa([&] {
        std::vector<index_t> kept(n + 1);
        std::vector<float> values(n + 1, 77.0f);
        std::vector<std::size_t> counts(kernel::compact_chunks(n));
        bool finite = false;
        auto const count = kernel::compact(Kokkos::DefaultHostExecutionSpace{}, x.get(), n, 1.5f, kept.data(),
                                           values.data(), counts.data(), finite);
        CHECK(finite);
        CHECK(values.back() == 77.0f);
        kept.resize(count);
        CHECK(kept == compact(x, n, 1.5f).kept);
        for (std::size_t j = 0; j < count; ++j) CHECK(values[j] == x[kept[j]]);
      });
    }
}

TEST_CASE("of a sum that is formed in the same pass, the same entries and values, and all of the sum") {
  for (std::size_t n : {0u, 1u, 33u, 100003u, (1u << 20) + 5u}) {
    sample const g(data::normal, n, 3), e(data::layers, n, 4);
    std::vector<float> expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = g[i] + e[i];
    for_each_isa([&] {
      std::vector<index_t> kept(n + 1), of_sum(n + 1);
      std::vector<float> a(n + 1, 77.0f), values(n + 1, 77.0f);
      std::vector<std::size_t> counts(kernel::compact_chunks(n));
      bool finite = false;
      Kokkos::DefaultHostExecutionSpace const exec;
      auto const count = kernel::compact_sum(exec, g.get(), e.get(), a.data(), n, 1.5f, kept.data(), values.data(),
                                             counts.data(), finite);
      CHECK(finite);
      CHECK(a.back() == 77.0f);
      CHECK(values.back() == 77.0f);
      a.resize(n);
      CHECK(same_bits(a, expected));
      of_sum.resize(kernel::compact_positions(exec, expected.data(), n, 1.5f, of_sum.data(), counts.data(), finite));
      kept.resize(count);
      CHECK(kept == of_sum);
      for (std::size_t j = 0; j < count; ++j) CHECK(bits(values[j]) == bits(expected[kept[j]]));
      auto const form = [&](std::size_t from, std::size_t to, float* out) {
        for (auto i = from; i < to; ++i) *out++ = g[i] + e[i];
      };
      std::vector<float> formed(n + 1, 77.0f), its_values(n + 1, 77.0f);
      kept.assign(n + 1, 0xabcdef);
      kept.resize(kernel::compact_formed(exec, form, formed.data(), n, 1.5f, kept.data(), its_values.data(),
                                         counts.data(), finite));
      CHECK(finite);
      CHECK(formed.back() == 77.0f);
      formed.resize(n);
      CHECK(same_bits(formed, expected));
      CHECK(kept == of_sum);
      CHECK(same_bits({its_values.begin(), its_values.begin() + static_cast<std::ptrdiff_t>(count)},
                      {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count)}));
      for (std::size_t const at : {std::size_t{0}, n / 2}) {
        auto bad = g;
        if (n == 0) continue;
        bad[at] = infinity;
        kept.resize(n);
        kernel::compact_sum(exec, bad.get(), e.get(), a.data(), n, 1.5f, kept.data(), nullptr, counts.data(), finite);
        CHECK_FALSE(finite);
        auto const spoilt = [&](std::size_t from, std::size_t to, float* out) {
          std::copy_n(&bad[from], to - from, out);
        };
        kernel::compact_formed(exec, spoilt, a.data(), n, 1.5f, kept.data(), nullptr, counts.data(), finite);
        CHECK_FALSE(finite);
      }
    });
  }
}

TEST_CASE("an entry that is not finite is kept and reported, wherever it stands") {
  std::size_t const n = 100003;
  sample const normal(data::normal, n);
  for_each_isa([&] {
    for (float bad : {not_a_number, -not_a_number, infinity, -infinity})
      for (std::size_t at : {0u, 1u, 14u, 15u, 4096u, 65551u, 100002u})
        for (float tau : {0.0f, 4.0f, 1e38f, infinity, not_a_number}) {
          auto x = normal;
          x[at] = bad;
          auto const r = compact(x, n, tau);
          CHECK_FALSE(r.finite);
          CHECK(std::binary_search(r.kept.begin(), r.kept.end(), static_cast<index_t>(at)));
          if (tau >= 1e38f) CHECK(r.kept.size() == 1);
        }
  });
}
