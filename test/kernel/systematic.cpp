// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/systematic.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

using namespace gradpress;

namespace {

using doubles = std::vector<double>;

doubles fill(doubles const& w, std::size_t budget) {
  doubles p(w.size() + 1, -7.);
  kernel::fill_water(w.data(), w.size(), budget, p.data());
  CHECK(p.back() == -7);
  p.pop_back();
  return p;
}
double sum(doubles const& p) { return std::accumulate(p.begin(), p.end(), 0.); }
/// Sum of w^2 (1/p - 1).
double variance(doubles const& w, doubles const& p) {
  double v = 0;
  for (std::size_t l = 0; l < w.size(); ++l)
    if (w[l] > 0) v += w[l] * w[l] * (1 / p[l] - 1);
  return v;
}
std::vector<std::size_t> draw(doubles const& p, double u, std::size_t most) {
  std::vector<std::size_t> drawn(most + 1, 777);
  auto const count = kernel::draw_systematic(p.data(), p.size(), u, most, drawn.data());
  CHECK(count <= most);
  CHECK(std::all_of(drawn.begin() + static_cast<std::ptrdiff_t>(count), drawn.end(), [](auto i) { return i == 777; }));
  drawn.resize(count);
  return drawn;
}
doubles falling(std::size_t n, double ratio) {
  doubles w(n, 1.);
  for (std::size_t l = 1; l < n; ++l) w[l] = w[l - 1] * ratio;
  return w;
}

}  // namespace

TEST_CASE("fill_water: levels worked out by hand") {
  CHECK(fill({3, 1}, 1) == doubles{0.75, 0.25});
  CHECK(fill({5, 1, 1}, 2) == doubles{1, 0.5, 0.5});  // 5 is more than a half of 7
  CHECK(fill({8, 4, 1, 1}, 2) == doubles{1, 2. / 3, 1. / 6, 1. / 6});
  CHECK(fill({8, 4, 1, 1}, 3) == doubles{1, 1, 0.5, 0.5});
  CHECK(fill({2, 2, 2, 2}, 1) == doubles(4, 0.25));
  CHECK(fill({2, 2, 0, 0}, 2) == doubles{1, 1, 0, 0});  // no more than there are
  CHECK(fill({2, 1e-9, 0}, 4) == doubles{1, 1, 0});
  CHECK(fill({0, 0}, 1) == doubles{0, 0});
  CHECK(fill({}, 3).empty());
}

TEST_CASE("fill_water spends the budget, and no other way to spend it has less variance") {
  for (double const ratio : {1., 0.97, 0.7, 0.2})
    for (std::size_t const n : {2u, 5u, 40u})
      for (std::size_t budget = 1; budget < n; ++budget) {
        CAPTURE(ratio);
        CAPTURE(n);
        CAPTURE(budget);
        auto const w = falling(n, ratio);
        auto const p = fill(w, budget);
        CHECK(sum(p) == doctest::Approx(static_cast<double>(budget)).epsilon(1e-13));
        CHECK(std::all_of(p.begin(), p.end(), [](double x) { return x > 0 && x <= 1; }));
        auto const best = variance(w, p);
        for (std::size_t from = 0; from < n; ++from)
          for (std::size_t to = 0; to < n; ++to) {
            auto q = p;  // a little of the budget elsewhere
            auto const some = std::min(p[from] / 2, 1 - p[to]) * 0.1;
            q[from] -= some, q[to] += some;
            CHECK(variance(w, q) >= best * (1 - 1e-9) - 1e-12);
          }
      }
}

TEST_CASE(
    "draw_systematic: over all u, each thing is drawn as often as its probability says, and their number is fixed") {
  for (auto const& p : {fill(falling(12, 0.8), 3), fill(falling(7, 0.5), 4), fill(falling(30, 0.99), 5),
                        doubles{0.5, 0, 0.5, 1, 0.25, 0.75}, doubles{1, 1, 1}, doubles{0.3, 0.3, 0.4}}) {
    auto const whole = static_cast<std::size_t>(sum(p) + 0.5);
    // Between these u nothing changes: an integral over u is a sum over the pieces.
    doubles edges = {0, 1};
    double end = 0;
    for (auto const x : p) end += x, edges.push_back(end - std::floor(end));
    std::sort(edges.begin(), edges.end());
    doubles often(p.size());
    for (std::size_t e = 0; e + 1 < edges.size(); ++e) {
      auto const piece = edges[e + 1] - edges[e];
      if (piece < 1e-12) continue;
      auto const drawn = draw(p, edges[e] + piece / 2, whole);
      CHECK(drawn.size() == whole);
      CHECK(std::adjacent_find(drawn.begin(), drawn.end(), std::greater_equal<>()) == drawn.end());
      for (auto const l : drawn) often[l] += piece;
    }
    for (std::size_t l = 0; l < p.size(); ++l) {
      CAPTURE(l);
      CHECK(std::fabs(often[l] - p[l]) < 1e-11);
      if (p[l] == 0) CHECK(often[l] == 0);
    }
  }
}

TEST_CASE("draw_systematic at its edges: the smallest and the largest u") {
  for (auto const& [ratio, n] : {std::pair{0.9, 512u}, {1., 512u}, {0.999, 300u}})
    for (std::size_t budget : {1u, 3u, 31u, 32u}) {
      auto const p = fill(falling(n, ratio), budget);
      CHECK(draw(p, kernel::fraction(0), budget).size() == budget);
      CHECK(draw(p, kernel::fraction(~std::uint64_t{0}), budget).size() == budget);
    }
  CHECK(kernel::fraction(~std::uint64_t{0}) == 1 - 0x1p-40);
  CHECK(draw({}, 0.5, 0).empty());
  CHECK(draw({0, 0}, 0, 1).empty());
}
