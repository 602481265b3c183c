// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/threshold.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/selector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;
static_assert(selector<threshold>);
static_assert(!selector<float>);
static_assert(threshold::where == support::own && !threshold::fixed_size);

TEST_CASE("select::threshold obeys the laws of selectors") {
  for (double tau : {0.0, 0.3, 2.5, 100.0}) check_selector(threshold{.tau = tau});
}

TEST_CASE("select::threshold keeps what reaches tau") {
  SUBCASE("magnitude, not sign") { CHECK(run_select(threshold{2.0}, {1.f, -2.f, 3.f, -0.5f}) == kept_t{1, 2}); }
  SUBCASE("the boundary is kept, its lower neighbour is not") {
    CHECK(run_select(threshold{2.0}, {2.f, std::nextafter(2.f, 0.f)}) == kept_t{0});
  }
  SUBCASE("tau = 0 keeps all, zeros too") { CHECK(run_select(threshold{0.0}, {0.f, -0.f}) == kept_t{0, 1}); }
  SUBCASE("nothing reaches tau") { CHECK(run_select(threshold{9.0}, {1.f, 2.f}).empty()); }
  SUBCASE("nothing there") { CHECK(run_select(threshold{1.0}, {}).empty()); }
  SUBCASE("a long vector, by the plain definition") {
    auto const x = heavy_tailed(100003);
    kept_t plain;
    for (std::size_t i = 0; i < x.size(); ++i)
      if (std::abs(x[i]) >= 0.5f) plain.push_back(static_cast<index_t>(i));
    REQUIRE(plain.size() > 1000);
    CHECK(run_select(threshold{0.5}, x) == plain);
  }
}

TEST_CASE("select::threshold is an absolute compressor: what stays behind is below tau everywhere") {
  auto const x = heavy_tailed(1000);
  auto rest = x;
  for (auto const i : run_select(threshold{0.2}, x)) rest[i] = 0;
  CHECK(std::all_of(rest.begin(), rest.end(), [](float v) { return std::abs(v) < 0.2f; }));
  CHECK(squared(rest) <= 1000 * 0.2 * 0.2);
}

TEST_CASE("select::threshold with a memory sends an entry of constant gradient v every ceil(tau / |v|) steps") {
  self_communicator alone;
  reducer r{host{}, alone};
  // Powers of two, so that sums are exact: periods 1, 1, 2, 4, 8, never, and -1/4 as 1/4.
  floats const v = {2.f, 1.f, 0.5f, 0.25f, 0.125f, 0.f, -0.25f, 0.375f};
  std::vector<int> const period = {1, 1, 2, 4, 8, 0, 4, 3};
  auto const w = r.add("w", v.size(), 1, compress_with(threshold{.tau = 1}, error_feedback{}));
  floats sent(v.size());
  for (int s = 1; s <= 48; ++s) {
    auto g = v;
    r.average(w, std::span(g));
    for (std::size_t i = 0; i < v.size(); ++i) {
      CAPTURE(s);
      CAPTURE(i);
      bool const due = period[i] != 0 && s % period[i] == 0;
      CHECK((g[i] != 0) == due);
      CHECK(g[i] == (due ? v[i] * static_cast<float>(period[i]) : 0.f));
      sent[i] += g[i];
    }
  }
  for (std::size_t i = 0; i < v.size(); ++i) CHECK(sent[i] == 48 * v[i]);  // nothing is lost
}

TEST_CASE("select::threshold has a text form and refuses a tau that is negative or no number") {
  CHECK(describe(threshold{.tau = 0.5}) == "threshold(tau=0.5)");
  CHECK_NOTHROW(threshold{.tau = 0}.check());
  CHECK_THROWS_WITH_AS(threshold{.tau = -1}.check(), "threshold: tau must be at least 0, it is -1.000000",
                       configuration_error);
  CHECK_THROWS_AS(threshold{.tau = std::nan("")}.check(), configuration_error);
}
