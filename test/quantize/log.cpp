// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/log.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<log_quantizer>);
static_assert(!quantizer<double>);
static_assert(std::same_as<log_quantizer::adds_as, void>);
static_assert(log_quantizer{}.code_bytes(33) == 4 + 33);
static_assert(log_quantizer{.bits = 4}.code_bytes(33) == 4 + 17);

namespace {
/// Level m of the grid, by the definition.
double level(log_quantizer const& q, double m, double top) {
  auto const last = (1 << (q.bits - 1)) - 1;
  return top * std::expm1(m * std::log1p(q.alpha) / last) / q.alpha;
}
}  // namespace

TEST_CASE("quantize::log obeys the laws of quantizers") {
  for (int const bits : {8, 4})
    for (double const alpha : {0.5, 10., 1000.})
      check_quantizer(log_quantizer{.alpha = alpha, .bits = bits},
                      {.one_scale = true, .leading_floats = [](std::size_t) { return std::size_t{1}; }});
}

TEST_CASE("quantize::log decodes every value to the nearest level of its logarithmic grid") {
  for (int const bits : {8, 4})
    for (double const alpha : {0.5, 10., 1000.}) {
      log_quantizer const q{.alpha = alpha, .bits = bits};
      auto const last = (1 << (bits - 1)) - 1;
      auto x = heavy_tailed(4097);
      x[0] = 1.f;  // top
      auto const y = round_trip(q, x);
      double worst = 0;
      int off_grid = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        auto const where = [&](double v) { return std::log1p(alpha * std::abs(v)) / std::log1p(alpha) * last; };
        auto const at = where(static_cast<double>(x[i])), got = where(static_cast<double>(y[i]));
        worst = std::max(worst, std::abs(at - got));
        off_grid += std::abs(got - std::round(got)) > 1e-3 ? 1 : 0;
        if (y[i] != 0) CHECK(std::signbit(y[i]) == std::signbit(x[i]));
      }
      CAPTURE(bits);
      CAPTURE(alpha);
      CHECK(worst < 0.5 + 1e-3);
      CHECK(worst > 0.4);
      CHECK(off_grid == 0);
    }
}

TEST_CASE("quantize::log is monotone and odd") {
  for (int const bits : {8, 4}) {
    floats rising;
    for (int i = -2000; i <= 2000; ++i) rising.push_back(static_cast<float>(i) / 2000);
    auto const y = round_trip(log_quantizer{.bits = bits}, rising);
    CHECK(std::is_sorted(y.begin(), y.end()));
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == -y[y.size() - 1 - i]);
    CHECK(y.back() == 1.f);  // the top comes back exactly
  }
}

TEST_CASE("quantize::log errs by a bounded share of the value, above the first level") {
  for (int const bits : {8, 4}) {
    log_quantizer const q{.bits = bits};
    auto const last = (1 << (bits - 1)) - 1;
    floats x;
    for (int i = 1; i <= 4000; ++i) x.push_back(static_cast<float>(i) / 4000);
    auto const y = round_trip(q, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      auto const v = static_cast<double>(x[i]), error = std::abs(v - static_cast<double>(y[i]));
      // Half a step up from v: (v + top/alpha) ((1 + alpha)^(1/2L) - 1).
      auto const half_step = (v + 1 / q.alpha) * std::expm1(std::log1p(q.alpha) / (2 * last));
      CHECK(error <= half_step * (1 + 1e-5));
    }
    // Fine near zero, coarse near the top: that is what the grid is for.
    CHECK(level(q, 1, 1) < 0.5 / last);
    CHECK(1 - level(q, last - 1, 1) > 2.0 / last);
  }
}

TEST_CASE("quantize::log works at both ends of float's range") {
  for (float const top : {1e-44f, 1e-38f, 3.4e38f}) {
    floats const x = {top, -top, top / 2, 0.f};
    auto const y = round_trip(log_quantizer{}, x);
    CHECK(y[0] == top);
    CHECK(y[1] == -top);
    CHECK(y[3] == 0.f);
    CHECK(std::isfinite(y[2]));
  }
}

TEST_CASE("quantize::log has a text form and refuses impossible knobs") {
  CHECK(describe(log_quantizer{.alpha = 10, .bits = 4}) == "log(alpha=10,bits=4)");
  for (int const bits : {2, 5, 16}) CHECK_THROWS_AS(log_quantizer{.bits = bits}.check(), configuration_error);
  for (double const alpha : {0., -1., 1e6, std::nan("")})
    CHECK_THROWS_AS(log_quantizer{.alpha = alpha}.check(), configuration_error);
}
