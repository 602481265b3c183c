// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/top_k.hpp>

#include "../support/kernel_cases.hpp"

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;

/// Outputs and workspace with a guard behind each.
struct outputs {
  std::size_t k, size;
  std::vector<std::byte> work;
  std::vector<index_t> indices;
  std::vector<float> values;

  outputs(std::size_t n, std::size_t keep)
      : k(keep),
        size(kernel::top_k_workspace(n, keep)),
        work(size + 64, std::byte{0x5a}),
        indices(keep + 1, 0xabcdef),
        values(keep + 1, 77.0f) {}
  bool intact() const {
    return indices[k] == 0xabcdef && values[k] == 77.0f &&
           std::all_of(work.begin() + static_cast<std::ptrdiff_t>(size), work.end(),
                       [](std::byte b) { return b == std::byte{0x5a}; });
  }
  bool are(std::vector<index_t> const& expected, float const* x) const {
    bool same = intact();
    for (std::size_t j = 0; j < k; ++j)
      same = same && indices[j] == expected[j] && bits(values[j]) == bits(x[expected[j]]);
    return same;
  }
};

/// g + e, made piece by piece.
struct sum_of {
  float const* g;
  float const* e;
  sum_of(float const* left, float const* right) : g(left), e(right) {}
  void operator()(std::size_t from, std::size_t to, float* out) const {
    for (auto i = from; i < to; ++i) *out++ = g[i] + e[i];
  }
};

std::vector<std::size_t> some_k(std::size_t n) {
  std::vector<std::size_t> k{0, n / 1000, n / 50, n / 3, n};
  if (n > 0) k.push_back(1), k.push_back(n - 1);
  std::sort(k.begin(), k.end());
  k.erase(std::unique(k.begin(), k.end()), k.end());
  return k;
}

void check_all(data kind, std::size_t n) {
  CAPTURE(static_cast<int>(kind));
  CAPTURE(n);
  sample const x(kind, n), g(data::normal, n, 5);
  std::vector<float> a(n);
  for (std::size_t i = 0; i < n; ++i) a[i] = g[i] + x[i];
  for (auto k : some_k(n)) {
    CAPTURE(k);
    auto const of_x = largest(x.get(), n, k), of_a = largest(a.data(), n, k);
    for_each_isa([&] {
      outputs plain(n, k), summed(n, k), in_place(n, k), formed(n, k);
      CHECK(kernel::top_k(host{}, x.get(), n, k, plain.work.data(), plain.indices.data(), plain.values.data()));
      CHECK(plain.are(of_x, x.get()));
      std::vector<float> sum(n + 1, 55.0f);
      CHECK(kernel::top_k_sum(host{}, g.get(), x.get(), sum.data(), n, k, summed.work.data(), summed.indices.data(),
                              summed.values.data()));
      CHECK(summed.are(of_a, a.data()));
      std::vector<float> whole(n + 1, 55.0f);
      CHECK(kernel::top_k_formed(host{}, sum_of(g.get(), x.get()), whole.data(), n, k, formed.work.data(),
                                 formed.indices.data(), formed.values.data()));
      CHECK(formed.are(of_a, a.data()));
      CHECK(same_bits(whole, sum));
      CHECK(sum.back() == 55.0f);
      sum.pop_back();
      CHECK(same_bits(sum, a));
      std::copy_n(x.get(), n, sum.data());
      CHECK(kernel::top_k_sum(host{}, g.get(), sum.data(), sum.data(), n, k, in_place.work.data(),
                              in_place.indices.data(), in_place.values.data()));
      CHECK(in_place.are(of_a, a.data()));
      CHECK(same_bits(sum, a));
    });
  }
}

}  // namespace

TEST_CASE("top-k is exact at awkward sizes") {
  for (std::size_t n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u})
    for (auto kind : {data::normal, data::few_values, data::zero}) check_all(kind, n);
}

TEST_CASE("top-k is exact for data made to mislead the sample") {
  for (auto kind : all_data) check_all(kind, 20021);
}

TEST_CASE("top-k is exact above the size from which the sum is streamed") {
  std::size_t const n = kernel::detail::streaming_from + 4099, k = n / 500;
  sample const g(data::layers, n, 1), e(data::layers, n, 2);
  std::vector<float> a(n);
  for (std::size_t i = 0; i < n; ++i) a[i] = g[i] + e[i];
  auto const expected = largest(a.data(), n, k);
  for_each_isa([&] {
    outputs out(n, k);
    sample sum(data::zero, n);
    CHECK(kernel::top_k_sum(host{}, g.get(), e.get(), sum.get(), n, k, out.work.data(), out.indices.data(),
                            out.values.data()));
    CHECK(out.are(expected, a.data()));
    CHECK(std::equal(a.begin(), a.end(), sum.get()));
    for (std::size_t const kept : {k, n / 3}) {  // some of a piece; more than is noted
      outputs formed(n, kept);
      sample whole(data::zero, n);
      CHECK(kernel::top_k_formed(host{}, sum_of(g.get(), e.get()), whole.get(), n, kept, formed.work.data(),
                                 formed.indices.data(), formed.values.data()));
      CHECK(formed.are(largest(a.data(), n, kept), a.data()));
      CHECK(std::equal(a.begin(), a.end(), whole.get()));
    }
  });
}

TEST_CASE("top-k survives a sample that sees nothing of what is large, and one that sees nothing else") {
  std::size_t const n = 100003, k = 1000;
  auto const lines = kernel::detail::sample_size(n) / 16;
  auto const part = n / lines;
  for (bool seen : {false, true}) {
    // Large values exactly where the sample looks, or exactly where it does not.
    sample x(data::denormal, n);
    std::vector<bool> sampled(n);
    for (std::size_t l = 0; l < lines; ++l) {
      auto const hash = static_cast<std::uint32_t>(l * 0x9E3779B97F4A7C15u >> 32);
      auto const at = l * part + static_cast<std::size_t>(std::uint64_t{hash} * (part - 15) >> 32);
      for (std::size_t j = 0; j < 16; ++j) sampled[at + j] = true;
    }
    for (std::size_t i = 0; i < n; ++i)
      if (sampled[i] == seen) x[i] = static_cast<float>(i % 1009) + 1;
    auto const expected = largest(x.get(), n, k);
    for_each_isa([&] {
      outputs out(n, k);
      CHECK(kernel::top_k(host{}, x.get(), n, k, out.work.data(), out.indices.data(), out.values.data()));
      CHECK(out.are(expected, x.get()));
    });
  }
}

TEST_CASE("an entry that is not finite is noticed wherever it stands, whatever k, and the sum is complete") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  constexpr auto not_a_number = std::numeric_limits<float>::quiet_NaN();
  for_each_isa([&] {
    for (std::size_t n : {1u, 33u, 1000u, 20021u})
      for (auto kind : {data::normal, data::equal, data::zero})
        for (std::size_t at : {std::size_t{0}, n / 2, n - 1})
          for (float bad : {-infinity, not_a_number})
            for (std::size_t k : {std::size_t{0}, std::min<std::size_t>(n, 3), n}) {
              sample x(kind, n);
              sample const e(data::zero, n);
              x[at] = bad;
              outputs out(n, k);
              CHECK_FALSE(kernel::top_k(host{}, x.get(), n, k, out.work.data(), out.indices.data(), out.values.data()));
              CHECK(out.intact());
              std::vector<float> sum(n, 55.0f);
              CHECK_FALSE(kernel::top_k_sum(host{}, e.get(), x.get(), sum.data(), n, k, out.work.data(),
                                            out.indices.data(), out.values.data()));
              CHECK(out.intact());
              bool complete = true;
              for (std::size_t i = 0; i < n; ++i) complete = complete && (i == at || sum[i] == e[i] + x[i]);
              CHECK(complete);
              CHECK_FALSE(kernel::top_k_formed(host{}, sum_of(e.get(), x.get()), sum.data(), n, k, out.work.data(),
                                               out.indices.data(), out.values.data()));
              CHECK(out.intact());
            }
  });
}

TEST_CASE("a sum that overflows is not finite") {
  std::vector<float> const g(40000, 3e38f), e(40000, 3e38f);
  std::vector<float> a(40000);
  outputs out(40000, 5);
  CHECK_FALSE(kernel::top_k_sum(host{}, g.data(), e.data(), a.data(), a.size(), 5, out.work.data(), out.indices.data(),
                                out.values.data()));
}

TEST_CASE("the workspace stays near k and never exceeds n entries") {
  constexpr std::size_t n = 25'600'000, k = 25'600;
  static_assert(kernel::top_k_workspace(n, k) < n);
  CHECK(kernel::top_k_workspace(n, k) < 1'500'000);
  CHECK(kernel::top_k_workspace(n, n) < 8 * n + 400'000);
}
