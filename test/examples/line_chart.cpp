// SPDX-License-Identifier: Apache-2.0
#include "../../examples/support/line_chart.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdio>
#include <string>

namespace {

svg::line_chart small() {
  svg::line_chart chart;
  chart.title = "a < b & c";
  chart.pens = {svg::okabe_ito(0, "one"), svg::okabe_ito(1, "two", "2 3")};
  chart.panels = {{"left", {{0, {{0, 1}, {10, 2}}}, {1, {{0, 2}, {10, 1}}}}}, {"right", {}}};
  return chart;
}

std::size_t count(std::string const& in, std::string const& what) {
  std::size_t n = 0;
  for (auto at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("examples::line_chart draws every curve and panel, and escapes words") {
  auto const page = small().page();
  CHECK(count(page, "<polyline") == 2);
  CHECK(count(page, ">left</text>") == 1);
  CHECK(count(page, ">right</text>") == 1);
  CHECK(count(page, "a &lt; b &amp; c") == 2);
  CHECK(count(page, "a < b") == 0);
  CHECK(count(page, "stroke-dasharray: 2 3") == 1);
  CHECK(count(page, "nan") == 0);
}

TEST_CASE("examples::line_chart cuts off what lies above, where it leaves and where it comes back") {
  auto chart = small();
  chart.panels = {{"only", {{0, {{0, 1}, {2, 1}, {4, 9}, {6, 1}, {8, 1}}}}}};
  CHECK(count(chart.page(), "<polyline") == 1);
  chart.y_high = 5;
  CHECK(count(chart.page(), "<polyline") == 2);
  chart.panels[0].curves[0].points = {{0, 9}, {2, 9}};
  CHECK(count(chart.page(), "<polyline") == 0);
}

TEST_CASE("examples::line_chart: logarithmic axes put equal factors at equal distances") {
  auto chart = small();
  chart.x = svg::axis::bytes;
  chart.columns = 1;
  chart.panels = {{"only", {{0, {{100, 1}, {1000, 1}, {10000, 1}}}}}};
  auto const page = chart.page();
  auto const from = page.find("points=\"") + 8;
  double a = 0, b = 0, c = 0, y = 0;
  REQUIRE(std::sscanf(page.c_str() + from, "%lf,%lf %lf,%lf %lf,%lf", &a, &y, &b, &y, &c, &y) == 6);
  CHECK(b - a == doctest::Approx(c - b).epsilon(0.01));
  CHECK(b > a);
  CHECK(count(page, ">1 kB</text>") == 1);
}

TEST_CASE("examples::line_chart: a chart without a point is still a page") {
  svg::line_chart chart;
  chart.panels = {{"empty", {}}};
  CHECK(count(chart.page(), "nan") == 0);
  CHECK(count(chart.page(), "</svg>") == 1);
}
