// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/chunked_top_k.hpp>

#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;
static_assert(selector<chunked_top_k>);
static_assert(!selector<kernel::chunks_of_k>);
static_assert(chunked_top_k::where == support::own && chunked_top_k::fixed_size);

namespace {
/// By the plain definition: top-k of every chunk.
kept_t plain(chunked_top_k const& s, floats const& x) {
  kept_t all;
  for (std::size_t from = 0; from < x.size(); from += s.chunk) {
    auto const length = std::min<std::size_t>(s.chunk, x.size() - from);
    for (auto const i : largest(x.data() + from, length, kept_of(s.density, length)))
      all.push_back(static_cast<index_t>(from + i));
  }
  return all;
}
}  // namespace

TEST_CASE("select::chunked_top_k obeys the laws of selectors") {
  for (double d : {0.01, 0.1, 0.5, 1.0})
    for (std::uint32_t chunk : {1u, 7u, 32u, 4096u}) check_selector(chunked_top_k{.density = d, .chunk = chunk});
}

TEST_CASE("select::chunked_top_k keeps the largest of every chunk") {
  SUBCASE("of each chunk its own") {
    CHECK(run_select(chunked_top_k{0.25, 4}, {1.f, -2.f, 9.f, 8.f, 0.1f, -0.3f, 0.2f, 0.f}) == kept_t{2, 5});
  }
  SUBCASE("of a shorter last chunk its share, and at least one") {
    CHECK(run_select(chunked_top_k{0.5, 4}, {1.f, 2.f, 3.f, 4.f, 1.f, 2.f, 3.f}) == kept_t{2, 3, 6});
    CHECK(chunked_top_k{0.5, 4}.max_kept(7) == 3);
    CHECK(chunked_top_k{0.5, 4}.max_kept(8) == 4);
    CHECK(chunked_top_k{0.001, 4}.max_kept(10) == 3);
  }
  SUBCASE("ties go to the lowest index of the chunk") {
    CHECK(run_select(chunked_top_k{0.5, 4}, floats(8, -1.f)) == kept_t{0, 1, 4, 5});
  }
  SUBCASE("a chunk of zeros sends its share like any other") {
    CHECK(run_select(chunked_top_k{0.25, 4}, {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 1.f}) == kept_t{0, 7});
  }
  SUBCASE("one chunk is top_k") {
    auto const x = heavy_tailed(4096);
    CHECK(run_select(chunked_top_k{0.03}, x) == run_select(top_k{0.03}, x));
  }
}

TEST_CASE("select::chunked_top_k is the plain definition, on data that provokes, on every path") {
  for (auto const kind : all_data)
    for (std::uint32_t chunk : {16u, 500u, 4096u, 65536u})
      for (double d : {0.001, 0.01, 0.11, 0.6}) {
        chunked_top_k const s{d, chunk};
        std::size_t const n = chunk == 65536 ? 100003 : 9000;
        auto const x = values_of(sample(kind, n), n);
        auto const expected = plain(s, x);
        CAPTURE(static_cast<int>(kind));
        CAPTURE(chunk);
        CAPTURE(d);
        for_each_isa([&] { CHECK(run_select(s, x) == expected); });
      }
}

TEST_CASE("select::chunked_top_k finds what is not finite in any chunk, also in the fused pass") {
  chunked_top_k const s{0.01, 512};
  for (std::size_t const n : {512u, 3000u})
    for (std::size_t const at : {std::size_t{0}, std::size_t{511}, n - 1})
      for (float const bad : not_finite) {
        auto x = heavy_tailed(n);
        x[at] = bad;
        lone_rank r;
        CHECK_FALSE(run_select(s, x, r.ctx).finite);
        auto const e = heavy_tailed(n, 2);
        floats a(n), values(s.max_kept(n));
        selection<host> kept;
        kept.indices = buffer<host, index_t>("kept", s.max_kept(n));
        CHECK_FALSE(s.select_sum(r.ctx, over(std::as_const(x)), over(e), over(a), kept, over(values)));
      }
}

TEST_CASE("select::chunked_top_k is a contraction with k_c / chunk, chunk by chunk") {
  chunked_top_k const s{0.125, 64};
  auto const left_of = [&](floats x) {
    for (auto const i : run_select(s, x)) x[i] = 0;
    return squared(x);
  };
  for (auto const kind : all_data) {
    auto const x = values_of(sample(kind, 640), 640);
    CHECK(left_of(x) <= (1 - 0.125) * squared(x) * (1 + 1e-12));
  }
  CHECK(left_of(floats(640, 2.f)) == doctest::Approx(0.875 * squared(floats(640, 2.f))));  // attained
  auto const x = heavy_tailed(640);
  auto rest = x;
  for (auto const i : run_select(top_k{0.125}, x)) rest[i] = 0;
  CHECK(squared(rest) < left_of(x));  // top_k of as many keeps more
}

TEST_CASE("select::chunked_top_k has a text form and refuses knobs out of range") {
  CHECK(describe(chunked_top_k{.density = 0.25, .chunk = 64}) == "chunked_top_k(density=0.25,chunk=64)");
  CHECK_NOTHROW(chunked_top_k{.density = 1, .chunk = 65536}.check());
  CHECK_THROWS_AS(chunked_top_k{.density = 0}.check(), configuration_error);
  CHECK_THROWS_WITH_AS((chunked_top_k{.chunk = 65537}.check()),
                       "chunked_top_k: chunk must lie in 1 .. 65536, it is 65537", configuration_error);
  CHECK_THROWS_AS((chunked_top_k{.chunk = 0}.check()), configuration_error);
}
