// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/cuda/top_k_plan.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace device = gradpress::kernel::cuda;

static_assert(device::integer_sqrt(0) == 0);
static_assert(device::integer_sqrt(15) == 3 && device::integer_sqrt(16) == 4);
static_assert(device::integer_sqrt(0xffffffffffffffffu) == 0xffffffffu);
static_assert(device::top_k_workspace_bytes(25'600'000, 25'600) < 2'000'000, "far less than the tensor");

TEST_CASE("kernel/cuda/top_k_plan: parts lie apart, aligned, and inside") {
  for (std::size_t const n : {std::size_t{1}, std::size_t{33}, std::size_t{4097}, std::size_t{100003},
                              std::size_t{124'000'000}, device::collect_max_size})
    for (std::size_t const k : {std::size_t{0}, std::size_t{1}, n / 1000, n / 2, n, n + 5}) {
      CAPTURE(n);
      CAPTURE(k);
      auto const p = device::plan_top_k(n, k);
      std::vector<std::pair<std::size_t, std::size_t>> parts{
          {p.counters, 12},
          {p.sample_histogram, std::size_t{4} << device::top_k_tuning::sample_bits},
          {p.digit_histogram, std::size_t{3 * 4} << device::top_k_tuning::digit_bits},
          {p.tile_first, 4 * std::size_t{p.tiles}},
          {p.tile_size, 4 * std::size_t{p.tiles}},
          {p.tile_rank, 8 * std::size_t{p.tiles}},
          {p.block_sum, 8 * std::size_t{device::top_k_tuning::max_finish_blocks}},
          {p.value, 4 * std::size_t{p.capacity}},
          {p.index, 4 * std::size_t{p.capacity}}};
      std::sort(parts.begin(), parts.end());
      std::size_t end = 0;
      for (auto const& [at, size] : parts) {
        CHECK(at >= end);
        CHECK(at % 16 == 0);
        end = at + size;
      }
      CHECK(end <= p.bytes);
      CHECK(p.cleared >= p.digit_histogram + (std::size_t{3 * 4} << device::top_k_tuning::digit_bits));
      CHECK(p.cleared <= p.tile_first);
      CHECK(p.bytes == device::top_k_workspace_bytes(n, k));
    }
}

TEST_CASE("kernel/cuda/top_k_plan: rank, room and tiles") {
  auto const small = device::plan_top_k(1000, 10);
  CHECK(small.samples == 1000);
  CHECK(small.rank == 10);  // sampled whole: no margin
  CHECK(small.capacity == 1000);
  CHECK(small.tiles == 1);
  CHECK(device::plan_top_k(1000, 1005).k == 1000);

  auto const large = device::plan_top_k(25'600'000, 25'600);
  CHECK(large.samples == 65536);
  CHECK(large.rank == 65 + 6 * 8 + 8);
  CHECK(large.capacity == 4 * 25'600 + 65536);
  CHECK(large.tiles == 6250);
  CHECK(device::plan_top_k(0, 0).tiles == 0);
}
