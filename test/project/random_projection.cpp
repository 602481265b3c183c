// SPDX-License-Identifier: Apache-2.0
#include <gradpress/project/random_projection.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/projector_laws.hpp"
#include "../support/low_rank_matrices.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(projector<random_projection>);
static_assert(!projector<random_projection*>);
static_assert(random_projection::linear && random_projection::rounds == 1);
static_assert(random_projection{.rank = 2}.coefficients({7, 5}, 0) == 14);
static_assert(random_projection{.rank = 9}.coefficients({7, 5}, 0) == 35);
static_assert(random_projection{}.coefficients({0, 1}, 0) == 0 && random_projection{}.coefficients({1, 31}, 0) == 2);

TEST_CASE("project::random_projection obeys the laws of projectors") {
  for (int const rank : {1, 2, 3, 4, 32}) check_projector(random_projection{.rank = rank});
  check_projector_hooks(random_projection{}, {89, 67});
}

TEST_CASE("project::random_projection is unbiased, with variance |a|^2 (cols - 1) / r") {
  for (shape const d : {shape{4, 9}, shape{1, 12}, shape{3, 7}})
    for (int const rank : {1, 2, 4}) {
      CAPTURE(d.rows);
      CAPTURE(rank);
      auto const a = heavy_tailed(d.size(), 5);
      projecting<random_projection> at({.rank = rank}, d);
      constexpr int draws = 6000;
      std::vector<double> mean(d.size());
      double error = 0;
      for (int t = 0; t < draws; ++t) {  // step() goes to the next key
        auto const x = at.step(a);
        auto const off = distance(x, a);
        error += off * off / draws;
        for (std::size_t i = 0; i < x.size(); ++i) mean[i] += static_cast<double>(x[i]) / draws;
      }
      CHECK(error == doctest::Approx(squared(a) * static_cast<double>(d.cols - 1) / rank).epsilon(0.05));
      for (std::size_t i = 0; i < d.rows; ++i) {
        floats const row(a.begin() + static_cast<std::ptrdiff_t>(i * d.cols),
                         a.begin() + static_cast<std::ptrdiff_t>((i + 1) * d.cols));
        for (std::size_t j = 0; j < d.cols; ++j) {
          auto const v = static_cast<double>(row[j]);
          auto const deviation = std::sqrt((squared(row) - v * v) / rank / draws);
          CHECK(std::abs(mean[i * d.cols + j] - v) <= 4 * deviation + 1e-6);
        }
      }
    }
}

TEST_CASE("project::random_projection multiplies by signs over sqrt(r), as many of either") {
  shape const d{1, 4096};
  constexpr std::size_t r = 4;
  projecting<random_projection> at({.rank = r}, d);
  double sum = 0;
  for (std::size_t j = 0; j < 300; ++j) {
    floats one(d.size());
    one[j] = 1;
    auto const c = at.project(0, one);
    for (auto const v : c) {
      CHECK(std::abs(v) == 0.5f);
      sum += static_cast<double>(v) / 0.5;
    }
  }
  CHECK(std::abs(sum) < 4 * std::sqrt(1200.));
}

TEST_CASE("project::random_projection keeps the elements themselves from rank = cols on") {
  for (shape const d : {shape{31, 1}, shape{6, 5}, shape{1, 4}}) {
    auto const a = heavy_tailed(d.size(), 2);
    for (int const rank : {5, 32}) {
      projecting<random_projection> at({.rank = rank}, d);
      CHECK(identical(at.project(0, a), a));
      CHECK(identical(at.step(a), a));
    }
  }
}

TEST_CASE(
    "project::random_projection is one matrix a step: on all ranks, in all phases, and with no projection before it") {
  shape const d{20, 130};
  auto const a = heavy_tailed(d.size(), 3);
  projecting<random_projection> at({.rank = 3}, d), other({.rank = 3}, d, 2), late({.rank = 3}, d, 3);
  auto const c = at.project(0, a);
  CHECK(identical(c, other.project(0, a)));
  auto const x = at.lift(c);
  late.r.ctx.phase = 2;
  late.r.ctx.part = 1;
  CHECK(identical(x, late.lift(c)));
  ++at.r.ctx.number;
  CHECK_FALSE(identical(c, at.project(0, a)));
  --at.r.ctx.number;
  at.r.ctx.tensor += 1;
  CHECK_FALSE(identical(c, at.project(0, a)));
  CHECK(at.kept().empty());
}

TEST_CASE("project::random_projection through a reducer: the mean of coefficients is that of the mean") {
  constexpr int P = 3;
  shape const d{17, 40};
  floats mean(d.size());
  for (int rank = 0; rank < P; ++rank)
    mean = plus(mean, times(1.f / P, heavy_tailed(d.size(), static_cast<std::uint64_t>(rank) + 1)));
  std::vector<floats> sent(P), of_mean(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const me = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, compress_with(random_projection{.rank = 4}));
    sent[me] = heavy_tailed(d.size(), me + 1);
    r.average(w, std::span(sent[me]));
  });
  run_ranks(P, [&](thread_communicator& c) {
    auto const me = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, compress_with(random_projection{.rank = 4}));
    of_mean[me] = mean;
    r.average(w, std::span(of_mean[me]));
  });
  for (std::size_t r = 0; r < P; ++r) {
    CHECK(identical(sent[r], sent[0]));
    CHECK(distance(sent[r], of_mean[0]) <= 1e-5 * std::sqrt(squared(of_mean[0])));
  }
}

TEST_CASE("project::random_projection has a text form and refuses ranks outside 1..32") {
  CHECK(describe(random_projection{.rank = 4}) == "random_projection(rank=4)");
  CHECK_NOTHROW(random_projection{.rank = 32}.check());
  for (int const rank : {0, -1, 33}) CHECK_THROWS_AS(random_projection{.rank = rank}.check(), configuration_error);
}
