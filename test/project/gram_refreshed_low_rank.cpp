// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/gram_refreshed_low_rank.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/low_rank_matrices.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<gram_refreshed_low_rank> && takes_courses<gram_refreshed_low_rank>);
static_assert(gram_refreshed_low_rank{.rank = 2}.coefficients({7, 5}, 0) == 25);
static_assert(gram_refreshed_low_rank{.rank = 2}.coefficients({7, 5}, 1) == 14);

namespace {
using host_reducer = reducer<gradpress::serial>;
shape const d{40, 70};
template <class T>
floats average(host_reducer& r, T t, std::uint64_t s) {
  auto g = heavy_tailed(d.size(), 10 * s + static_cast<std::uint64_t>(r.rank()));
  r.average(t, std::span(g));
  return g;
}
}  // namespace

TEST_CASE("project::gram_refreshed_low_rank: a refresh projects on the leading singular vectors, one rank alone") {
  auto const m = heavy_tailed(d.size(), 3);
  projecting<gram_refreshed_low_rank> at({.rank = 4, .every = 9}, d);
  CHECK(at.use.begin(at.r.ctx, d, at.state).rounds == 3);
  auto const gram = at.project(0, m);
  for (std::size_t i = 0; i < d.cols; i += 7)
    for (std::size_t j = 0; j < d.cols; j += 3) {
      double sum = 0, size = 0;
      for (std::size_t k = 0; k < d.rows; ++k) {
        auto const term = static_cast<double>(m[k * d.cols + i]) * static_cast<double>(m[k * d.cols + j]);
        sum += term, size += std::abs(term);
      }
      CHECK(std::abs(static_cast<double>(gram[i * d.cols + j]) - sum) <= 1e-5 * size);
    }
  auto const best = tail(singular_values(m, d), 4);
  CHECK(distance(at.step(m), m) <= 1.02 * best);
  CHECK(at.use.begin(at.r.ctx, d, at.state).rounds == 2);
  CHECK(at.count(0) == 4 * d.rows);
}

TEST_CASE("reducer: gram_refreshed_low_rank sends a Gram matrix every tau steps; files and rollbacks go on") {
  run_ranks(3, [&](thread_communicator& c) {
    auto const method = compress_with(gram_refreshed_low_rank{.rank = 2, .every = 3}, error_feedback{});
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, method);
    for (std::uint64_t s = 0; s < 7; ++s) {
      std::ostringstream file;
      r.save(file);
      r.reset_statistics();
      auto const next = average(r, w, s);
      auto const due = s % 3 == 0;
      require(r.stats().messages == (due ? 3u : 2u), "one message more in a refresh");
      require(r.stats().bytes_sent >= 4 * (2 * (d.rows + d.cols) + (due ? d.cols * d.cols : 0)), "a Gram matrix more");
      r.rollback();
      require(identical(next, average(r, w, s)), "after a rollback");
      host_reducer other{gradpress::serial{}, c};
      auto const o = other.add("w", d.rows, d.cols, method);
      std::istringstream again(file.str());
      other.load(again);
      require(identical(next, average(other, o, s)), "from a file");
    }
  });
}

TEST_CASE("project::gram_refreshed_low_rank follows what cancels in the mean, which refreshed_low_rank does not") {
  // Two ranks with large opposite parts in one direction and a small common one in another.
  auto const lost = [&](auto const& method) {
    double share = 0;
    run_ranks(2, [&](thread_communicator& c) {
      host_reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 20, 20, method);
      floats update;
      for (int s = 0; s < 2; ++s) {  // the second step projects on what the first one found
        floats g(400);
        for (std::size_t i = 0; i < 20; ++i) g[20 * i] = c.rank() == 0 ? 10.f : -10.f, g[20 * i + 1] = 1.f;
        update = g;
        r.average(w, std::span(update));
      }
      if (c.rank() == 0) share = std::sqrt(squared(update) / 20);  // of the common part
    });
    return share;
  };
  CHECK(lost(compress_with(refreshed_low_rank{.rank = 1})) == doctest::Approx(1).epsilon(1e-4));
  CHECK(lost(compress_with(gram_refreshed_low_rank{.rank = 1, .every = 1})) < 0.1);
}

TEST_CASE("project::gram_refreshed_low_rank has a text form and refuses clocks and ranks that it cannot keep") {
  CHECK(describe(gram_refreshed_low_rank{}) == "gram_refreshed_low_rank(rank=2,every=50,minimum_rate=1,memory=local)");
  CHECK_THROWS_AS(gram_refreshed_low_rank{.rank = 0}.check(), configuration_error);
  CHECK_THROWS_AS(gram_refreshed_low_rank{.every = 0}.check(), configuration_error);
}
