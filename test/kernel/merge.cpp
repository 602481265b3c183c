// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/merge.hpp>

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

/// Merges with the kernel and with a map, and compares indices, values, order and what is lost, bit for bit.
void check(sparse_vector const& mine, sparse_vector const& theirs, std::size_t k) {
  auto const ka = mine.indices.size(), kb = theirs.indices.size();
  CAPTURE(ka);
  CAPTURE(kb);
  CAPTURE(k);
  std::map<index_t, float> sum;
  for (std::size_t i = 0; i < ka; ++i) sum[mine.indices[i]] = mine.values[i];
  for (std::size_t i = 0; i < kb; ++i) {
    auto const [at, fresh] = sum.try_emplace(theirs.indices[i], theirs.values[i]);
    if (!fresh) at->second += theirs.values[i];
  }
  sparse_vector merged;
  for (auto const& [index, value] : sum) merged.indices.push_back(index), merged.values.push_back(value);
  auto const m = merged.indices.size();
  auto const kept = largest(merged.values.data(), m, std::min(k, m));
  sparse_vector expected, lost;
  for (index_t i = 0; i < m; ++i) {
    auto& to = std::binary_search(kept.begin(), kept.end(), i) ? expected : lost;
    to.indices.push_back(merged.indices[i]);
    to.values.push_back(merged.values[i]);
  }

  auto const room = std::max(ka, k);
  auto mine_i = mine.indices;
  auto mine_v = mine.values;
  mine_i.resize(room), mine_v.resize(room);
  mine_i.push_back(0xabcdef), mine_v.push_back(55.0f);
  std::vector<index_t> lost_i(ka + kb + 1, 0xabcdef);
  std::vector<float> lost_v(ka + kb + 1, 55.0f);
  auto const size = kernel::merge_top_k_workspace(ka, kb);
  std::vector<std::byte> work(size + 1, std::byte{0x5a});
  std::size_t lost_count = 999;
  auto const count = kernel::merge_top_k(mine_i.data(), mine_v.data(), ka, theirs.indices.data(), theirs.values.data(),
                                         kb, k, work.data(), lost_i.data(), lost_v.data(), lost_count);
  CHECK(mine_i.back() == 0xabcdef);
  CHECK(mine_v.back() == 55.0f);
  CHECK(lost_i.back() == 0xabcdef);
  CHECK(lost_v.back() == 55.0f);
  CHECK(work.back() == std::byte{0x5a});
  REQUIRE(count == expected.indices.size());
  REQUIRE(lost_count == lost.indices.size());
  mine_i.resize(count), mine_v.resize(count), lost_i.resize(lost_count), lost_v.resize(lost_count);
  CHECK(mine_i == expected.indices);
  CHECK(same_bits(mine_v, expected.values));
  CHECK(lost_i == lost.indices);
  CHECK(same_bits(lost_v, lost.values));
}

sparse_vector random_sparse(std::size_t k, data kind, unsigned seed, index_t stride) {
  std::mt19937 random(seed);
  sample const x(kind, k, seed);
  sparse_vector v;
  index_t at = 0;
  for (std::size_t i = 0; i < k; ++i, at += 1 + static_cast<index_t>(random() % stride)) {
    v.indices.push_back(at);
    v.values.push_back(x[i]);
  }
  return v;
}

}  // namespace

TEST_CASE("the largest k of the sum, and all the others") {
  for (auto kind : all_data)
    for (std::size_t ka : {0u, 1u, 33u, 1000u})
      for (std::size_t kb : {0u, 1u, 32u, 1000u})
        for (index_t stride : {1u, 2u, 1000u}) {
          auto const a = random_sparse(ka, kind, 1, stride), b = random_sparse(kb, kind, 2, stride);
          for (std::size_t k : {std::size_t{0}, std::size_t{1}, ka / 2, ka, ka + kb / 2, ka + kb, ka + kb + 5})
            check(a, b, k);
        }
}

TEST_CASE("large lists") {
  check(random_sparse(40000, data::layers, 1, 9), random_sparse(30011, data::layers, 2, 9), 40000);
}

TEST_CASE("ties go to the lowest indices, whichever side they come from") {
  sparse_vector const a{{2, 4, 6, 8}, {1, -1, 1, 5}}, b{{1, 3, 7, 9}, {-1, 1, 1, -1}};
  for (std::size_t k = 0; k <= 8; ++k) check(a, b, k);
}

TEST_CASE("entries that cancel stay as zeros and lose first") {
  sparse_vector const a{{1, 2, 3}, {5, 1e-45f, -7}}, b{{1, 3}, {-5, 7}};
  for (std::size_t k = 0; k <= 3; ++k) check(a, b, k);
}

TEST_CASE("a lone -0 stays -0") {
  sparse_vector const a{{1, 5}, {-0.0f, 1}}, b{{2, 6}, {-0.0f, 2}};
  check(a, b, 4);
  check(a, b, 3);
}

TEST_CASE("sums that overflow are ordered by their bits") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  sparse_vector const a{{1, 2, 3, 4}, {3e38f, infinity, 1, -3e38f}}, b{{1, 2, 4}, {3e38f, -infinity, -3e38f}};
  for (std::size_t k = 0; k <= 4; ++k) check(a, b, k);
}
