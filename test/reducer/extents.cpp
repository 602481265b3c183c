// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/recipes.hpp>

#include <doctest/doctest.h>

#include <array>
#include <initializer_list>
#include <string>

using namespace gradpress;

namespace {
constexpr shape as_matrix(std::initializer_list<std::size_t> extents) {
  return matrix_of({extents.begin(), extents.size()});
}
using host_reducer = reducer<gradpress::serial>;
constexpr std::size_t million = 1 << 20;
}  // namespace
static_assert(as_matrix({}) == shape{1, 1} && as_matrix({5}) == shape{5, 1} && as_matrix({5, 7}) == shape{5, 7});
static_assert(as_matrix({64, 3, 7, 7}) == shape{64, 147} && as_matrix({2, 3, 0, 5}) == shape{2, 0});

TEST_CASE("reducer: a convolution is the matrix of its output channels, with the same bits") {
  run_ranks(2, [](thread_communicator& c) {
    host_reducer a{gradpress::serial{}, c}, b{gradpress::serial{}, c};
    std::array const extents{std::size_t{8}, std::size_t{5}, std::size_t{3}, std::size_t{3}};
    auto const w = a.add("w", {8, 5, 3, 3}, power_sgd(2));
    auto const x = a.add("x", std::span<std::size_t const>(extents), power_sgd(2));
    auto const v = b.add("w", 8, 45, power_sgd(2));
    auto const u = b.add("x", 8, 45, power_sgd(2));
    for (int s = 0; s < 3; ++s) {
      std::vector<float> g(360);
      for (std::size_t i = 0; i < g.size(); ++i)
        g[i] = key{static_cast<std::uint64_t>(10 * s + c.rank())}.uniform(i) - 0.5f;
      auto h = g, k = g, l = g;
      a.stage(w, std::span(g));
      a.stage(x, std::span(k));
      a.average();
      b.stage(v, std::span(h));
      b.stage(u, std::span(l));
      b.average();
      if (g != h || k != l) throw std::runtime_error("extents are not their matrix");
    }
    if (a.stats().bytes_sent != b.stats().bytes_sent) throw std::runtime_error("other bytes");
    if (a.stats().bytes_sent > 3 * 2 * 4 * 2 * 53 + 500) throw std::runtime_error("not compressed");
  });
}

TEST_CASE("reducer: extents without a method travel dense; none are one element; too many are refused by name") {
  CHECK(as_matrix({1, million, million, million}).cols == std::size_t{1} << 32);
  CHECK(as_matrix({1, million, million, million, 0}).size() == 0);
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const b = r.add("bias", {7});
  CHECK(r.method(b) == compress_with().text());
  auto const scalar = r.add("temperature", {});
  std::vector<float> g{3};
  r.stage(scalar, std::span(g));
  std::vector<float> bias(7);
  r.stage(b, std::span(bias));
  CHECK_NOTHROW(r.average());
  try {
    r.add("huge", {4, million, million, million}, power_sgd(1));
    FAIL("accepted");
  } catch (configuration_error const& e) {
    CHECK(std::string(e.what()).find("tensor 'huge' has 2^32 elements or more") != std::string::npos);
  }
}
