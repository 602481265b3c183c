// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/sparse_sum.hpp>

#include "../support/kernel_cases.hpp"

#include <limits>
#include <map>

using namespace gradpress;
using namespace gradpress::test;

namespace {

struct sparse_vector {
  std::vector<index_t> indices;
  std::vector<float> values;
};

sparse_vector random_sparse(std::size_t k, data kind, unsigned seed, index_t stride, index_t at = 0) {
  std::mt19937 random(seed);
  sample const x(kind, k, seed);
  sparse_vector v;
  for (std::size_t i = 0; i < k; ++i, at += 1 + static_cast<index_t>(random() % stride)) {
    v.indices.push_back(at);
    v.values.push_back(x[i]);
  }
  return v;
}

/// Adds with a map, in the order of the vectors.
sparse_vector plain_sum(std::vector<sparse_vector> const& all) {
  std::map<index_t, float> sum;
  for (auto const& v : all)
    for (std::size_t i = 0; i < v.indices.size(); ++i) sum.try_emplace(v.indices[i], 0.0f).first->second += v.values[i];
  sparse_vector out;
  for (auto const& [index, value] : sum) out.indices.push_back(index), out.values.push_back(value);
  return out;
}

void check_sum(std::vector<sparse_vector> const& all) {
  std::vector<kernel::stream> streams;
  std::size_t entries = 0;
  for (auto const& v : all) {
    streams.push_back({v.indices.data(), v.values.data(), v.indices.size()});
    entries += v.indices.size();
  }
  std::vector<index_t> index(entries + 1, 0xabcdef);
  std::vector<float> value(entries + 1, 55.0f);
  std::vector<std::size_t> next(all.size() + 1, 77);
  auto const m = kernel::sum_streams(streams.data(), streams.size(), next.data(), index.data(), value.data());
  auto const expected = plain_sum(all);
  REQUIRE(m == expected.indices.size());
  CHECK(index.back() == 0xabcdef);
  CHECK(value.back() == 55.0f);
  CHECK(next.back() == 77);
  index.resize(m), value.resize(m);
  CHECK(index == expected.indices);
  CHECK(same_bits(value, expected.values));
}

void check_largest(sparse_vector v, std::size_t k) {
  auto const m = v.indices.size();
  CAPTURE(m);
  CAPTURE(k);
  auto const kept = largest(v.values.data(), m, std::min(k, m));
  sparse_vector expected;
  for (auto const i : kept) expected.indices.push_back(v.indices[i]), expected.values.push_back(v.values[i]);
  std::vector<std::uint32_t> words(kernel::kth_words_serial);
  auto const count = kernel::keep_largest(v.indices.data(), v.values.data(), m, k, words.data());
  REQUIRE(count == kept.size());
  v.indices.resize(count), v.values.resize(count);
  CHECK(v.indices == expected.indices);
  CHECK(same_bits(v.values, expected.values));
}

}  // namespace

TEST_CASE("sum_streams: every index once, values in the order of the streams") {
  for (auto kind : all_data)
    for (std::size_t streams : {0u, 1u, 2u, 3u, 9u, 70u})
      for (std::size_t k : {0u, 1u, 33u, 700u})
        for (index_t stride : {1u, 3u, 1000u, 30000u}) {
          CAPTURE(streams);
          CAPTURE(k);
          CAPTURE(stride);
          std::vector<sparse_vector> all;
          for (unsigned s = 0; s < streams; ++s)
            all.push_back(random_sparse(s % 4 == 3 ? k / 2 : k, kind, s + 1, stride, s * 5));
          check_sum(all);
        }
}

TEST_CASE("sum_streams: both sides of a tile's edge, and the last index there is") {
  check_sum({{{8191, 8192}, {1, 2}}, {{8192, 16383, 16384}, {3, 4, 5}}});
  check_sum({{{0, 0xfffffffeu}, {1, 2}}, {{0xfffffffeu}, {3}}, {{}, {}}});
}

TEST_CASE("sum_streams: entries that cancel stay, -0 becomes +0, what overflows is not lost") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  check_sum({{{1, 2}, {5, -0.0f}}, {{1, 3}, {-5, 7}}});
  check_sum({{{1, 2}, {3e38f, infinity}}, {{1, 2}, {3e38f, 1}}});
}

TEST_CASE("keep_largest: by magnitude, ties to the lowest index") {
  for (auto kind : all_data)
    for (std::size_t m : {0u, 1u, 33u, 3000u})
      for (std::size_t k : {std::size_t{0}, std::size_t{1}, m / 3, m, m + 5})
        check_largest(random_sparse(m, kind, 3, 4), k);
  for (std::size_t k = 0; k <= 5; ++k) check_largest({{2, 4, 6, 8, 9}, {1, -1, 1, 5, -1}}, k);
}
