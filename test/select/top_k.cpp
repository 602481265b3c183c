// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;

namespace {
struct no_fixed_size {
  static constexpr std::string_view name = "no_fixed_size";
  static constexpr support where = support::own;
  std::size_t max_kept(std::size_t n) const { return n; }
  template <class Exec>
  bool select(step<Exec> const&, in<Exec>, selection<Exec>&) const {
    return true;
  }
};
}  // namespace
static_assert(selector<top_k>);
static_assert(!selector<no_fixed_size>);
static_assert(top_k::where == support::own && top_k::fixed_size);

TEST_CASE("select::top_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0}) check_selector(top_k{.density = d});
}

TEST_CASE("select::top_k keeps the largest magnitudes") {
  SUBCASE("magnitude, not sign") { CHECK(run_select(top_k{0.5}, {1.f, -2.f, 3.f, -0.5f}) == kept_t{1, 2}); }
  SUBCASE("at least one") { CHECK(run_select(top_k{1e-6}, {1.f, -2.f, 1.5f}) == kept_t{1}); }
  SUBCASE("ties go to the lowest index") {
    CHECK(run_select(top_k{0.5}, {1.f, -2.f, 2.f, 2.f, 1.f, 1.f}) == kept_t{1, 2, 3});
    CHECK(run_select(top_k{0.5}, {2.f, 3.f, -2.f, 2.f}) == kept_t{0, 1});
  }
  SUBCASE("constant: the first k") {
    kept_t first(50);
    std::iota(first.begin(), first.end(), index_t{0});
    CHECK(run_select(top_k{0.05}, floats(1000, -7.f)) == first);
    CHECK(run_select(top_k{0.05}, floats(1000, 0.f)) == first);
  }
  SUBCASE("zeros of both signs are equal") { CHECK(run_select(top_k{0.5}, {-0.f, 0.f, -0.f, 0.f}) == kept_t{0, 1}); }
  SUBCASE("numbers below the smallest normal one are told apart") {
    CHECK(run_select(top_k{0.34}, {1e-40f, 3e-40f, 2e-40f}) == kept_t{1});
  }
  SUBCASE("empty") { CHECK(run_select(top_k{0.5}, {}).empty()); }
}

TEST_CASE("select::top_k is the plain definition, on data that hides the threshold") {
  for (std::size_t n : {33u, 1000u, 4097u, 100003u})
    for (double d : {0.001, 0.01, 0.3}) {
      auto x = heavy_tailed(n);
      for (std::size_t i = 0; i < n; i += 3) x[i] = 0.25f;  // many ties about the k-th
      kept_t order(n);
      std::iota(order.begin(), order.end(), index_t{0});
      std::sort(order.begin(), order.end(), [&](index_t a, index_t b) {
        return std::abs(x[a]) != std::abs(x[b]) ? std::abs(x[a]) > std::abs(x[b]) : a < b;
      });
      order.resize(kept_of(d, n));
      std::sort(order.begin(), order.end());
      CHECK(run_select(top_k{d}, x) == order);
    }
}

TEST_CASE("select::top_k is a contraction: it never leaves more than (1 - k/n) of the energy") {
  auto const x = heavy_tailed(1000);
  for (double d : {0.01, 0.2, 0.7}) {
    auto rest = x;
    for (auto const i : run_select(top_k{d}, x)) rest[i] = 0;
    CHECK(squared(rest) <= (1 - d) * squared(x));
  }
  floats const flat(100, 1.f);  // with equality where all magnitudes are equal
  auto rest = flat;
  for (auto const i : run_select(top_k{0.3}, flat)) rest[i] = 0;
  CHECK(squared(rest) == doctest::Approx(0.7 * squared(flat)));
}

TEST_CASE("select::top_k refuses NaN and infinity in the fused pass too") {
  for (std::size_t at = 0; at < 33; ++at)
    for (float const bad : not_finite) {
      auto const g = heavy_tailed(33);
      auto e = heavy_tailed(33, 2);
      e[at] = bad;
      lone_rank r;
      floats a(33), values(3);
      selection<host> kept;
      kept.indices = buffer<host, index_t>("kept", 3);
      CHECK_FALSE(
          top_k{0.1}.select_sum(r.ctx, over(std::as_const(g)), over(std::as_const(e)), over(a), kept, over(values)));
    }
  SUBCASE("two finite numbers whose sum is not") {
    floats const huge(4, 3e38f);
    floats a(4), values(2);
    lone_rank r;
    selection<host> kept;
    kept.indices = buffer<host, index_t>("kept", 2);
    CHECK_FALSE(top_k{0.5}.select_sum(r.ctx, over(huge), over(huge), over(a), kept, over(values)));
  }
}

TEST_CASE("select::top_k has a text form and refuses impossible densities") {
  CHECK(describe(top_k{.density = 0.25}) == "top_k(density=0.25)");
  CHECK_NOTHROW(top_k{.density = 1}.check());
  CHECK_THROWS_AS(top_k{.density = 0}.check(), configuration_error);
}
