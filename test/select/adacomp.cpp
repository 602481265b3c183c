// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/adacomp.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/reducer.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/averaging.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

using kept_t = std::vector<index_t>;
static_assert(selector<adacomp>);
static_assert(!selector<adacomp&>);
static_assert(wants_fresh<adacomp> && adacomp::where == support::own && !adacomp::fixed_size);

namespace {
selected select_of(adacomp const& s, floats const& a, floats const& g) {
  lone_rank r;
  selection<host> kept;
  kept.indices = buffer<host, index_t>("kept", a.size());
  guarded<float> values(a.size());
  selected result;
  result.finite = s.select_fresh(r.ctx, over(a), over(g), kept, view<host>(values.get(), a.size()));
  CHECK(values.intact());
  result.indices.assign(kept.indices.data(), kept.indices.data() + kept.count);
  result.values.assign(values.get(), values.get() + kept.count);
  return result;
}
}  // namespace

TEST_CASE("select::adacomp obeys the laws of selectors") {
  for (std::uint32_t const bin : {1u, 7u, 50u, 500u}) check_selector(adacomp{.bin = bin});
}

TEST_CASE("select::adacomp keeps what the gradient drives to its bin's maximum, and sends the mean of the maxima") {
  floats const a = {4.f, -3.f, 1.f, 2.f, /**/ 0.f, 0.f, -0.f, 0.f, /**/ -1.f, 0.25f, -0.5f, 0.5f, /**/ 0.f, 3.f};
  floats const g = {-1.f, -1.f, 3.f, 1.f, /**/ 0.f, 9.f, 0.f, 0.f, /**/ 0.f, 1.f, -0.5f, 0.25f, /**/ -3.f, 0.5f};
  // a + g:       3    -4    4    3         a bin of zeros           -1   1.25   -1   0.75           -3   3.5
  auto const sent = select_of({.bin = 4}, a, g);
  CHECK(sent.finite);
  CHECK(sent.indices == kept_t{1, 2, 8, 9, 10, 13});  // 12 reaches 3 and has no sign
  auto const s = static_cast<float>((4. + 1 + 3) / 3);
  CHECK(identical(sent.values, {-s, s, -s, s, -s, s}));
}

TEST_CASE("select::adacomp keeps the largest entry of every bin that is not zero, if the gradient has its sign") {
  for (std::uint32_t const bin : {1u, 10u, 64u, 500u, 65536u})
    for (std::size_t const n : {1u, 33u, 1000u, 100003u}) {
      CAPTURE(bin);
      CAPTURE(n);
      auto a = heavy_tailed(n, 1);
      auto const g = heavy_tailed(n, 2);
      for (std::size_t i = 0; i < n; ++i)
        if (i / bin % 3 == 1) a[i] = 0;
      std::vector<bool> kept(n);
      auto const sent = select_of({.bin = bin}, a, g);
      for (auto const i : sent.indices) kept[i] = true;
      double maxima = 0;
      std::size_t bins = 0, missed = 0;
      for (std::size_t from = 0; from < n; from += bin) {
        auto const to = std::min<std::size_t>(n, from + bin);
        float top = 0;
        for (auto i = from; i < to; ++i) top = std::max(top, std::abs(a[i]));
        for (auto i = from; i < to; ++i) {
          CHECK(kept[i] == (std::abs(a[i] + g[i]) >= top && a[i] != 0));
          if (top > 0 && std::abs(a[i]) == top && a[i] * g[i] > 0) missed += kept[i] ? 0u : 1u;
        }
        if (top > 0) maxima += static_cast<double>(top), ++bins;
      }
      CHECK(missed == 0);
      for (std::size_t j = 0; j < sent.values.size(); ++j)
        CHECK(sent.values[j] ==
              std::copysign(static_cast<float>(maxima / static_cast<double>(bins)), a[sent.indices[j]]));
    }
}

TEST_CASE("select::adacomp brings its code, and any other is right too") {
  auto const own = compress_with(adacomp{.bin = 20}, error_feedback{});
  static_assert(std::same_as<decltype(own.quantizer), one_magnitude>);
  auto const floating = compress_with(unquantized{}, adacomp{.bin = 20}, error_feedback{});
  static_assert(std::same_as<decltype(floating.quantizer), unquantized>);
  auto const half = compress_with(adacomp{.bin = 20}, bf16{}, error_feedback{});
  static_assert(std::same_as<decltype(half.quantizer), bf16>);
  static_assert(std::same_as<decltype(compress_with(error_feedback{}).quantizer), unquantized>);
  auto const g = gradients_of(3, 500);
  auto const a = average_once(g, own), b = average_once(g, floating), c = average_once(g, half);
  CHECK(identical(a.updates[0], b.updates[0]));  // the code loses nothing of what this selector sends
  CHECK(a.bytes[0] < b.bytes[0]);
  CHECK(vanished(g, a) < 1e-3);
  CHECK(vanished(g, c) < 1e-3);
}

TEST_CASE("select::adacomp with a memory delivers a constant gradient in the long run") {
  self_communicator alone;
  reducer r{host{}, alone};
  auto const g = heavy_tailed(200);
  auto const w = r.add("w", g.size(), 1, compress_with(adacomp{.bin = 50}, error_feedback{}));
  std::vector<double> sent(g.size());
  constexpr int steps = 2000;
  for (int s = 0; s < steps; ++s) {
    auto update = g;
    r.average(w, std::span(update));
    for (std::size_t i = 0; i < g.size(); ++i) sent[i] += static_cast<double>(update[i]);
  }
  double worst = 0;
  for (std::size_t i = 0; i < g.size(); ++i)
    worst = std::max(worst, std::abs(sent[i] / steps - static_cast<double>(g[i])));
  CHECK(worst < 0.01);
}

TEST_CASE("select::adacomp gives the same on every path, and finds what is not finite") {
  auto const a = heavy_tailed(100003), g = heavy_tailed(100003, 2);
  auto const once = select_of({}, a, g);
  for_each_isa([&] {
    auto const again = select_of({}, a, g);
    CHECK(again.indices == once.indices);
    CHECK(identical(again.values, once.values));
  });
  floats large(100, 3e38f);
  large[3] = -3e38f;
  CHECK(select_of({.bin = 10}, large, large).finite);  // a + g is no float, a is
  for (float const bad : not_finite) {
    auto x = a;
    x[77777] = bad;
    CHECK_FALSE(select_of({}, x, g).finite);
  }
}

TEST_CASE("select::adacomp has a text form and refuses bins out of range") {
  CHECK(describe(adacomp{.bin = 50}) == "adacomp(bin=50)");
  CHECK_THROWS_WITH_AS(adacomp{.bin = 0}.check(), "adacomp: bin must lie in 1 .. 65536, it is 0", configuration_error);
  CHECK_THROWS_AS(adacomp{.bin = 65537}.check(), configuration_error);
}
