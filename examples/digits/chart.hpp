// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A scatter chart as SVG: bytes on a logarithmic axis, accuracy on a linear one, labels that keep clear of each other.

#include "../support/svg.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace digits {

/// One method: bytes > 0, accuracy and its spread in percent.
struct chart_point {
  std::string label;
  double bytes = 1, accuracy = 0, spread = 0;
  bool reference = false;  ///< drawn in another colour, with a line across the chart
};

class chart {
  struct box {
    double left, top, right, bottom;
    [[nodiscard]] bool contains(double x, double y) const { return x > left && x < right && y > top && y < bottom; }
    [[nodiscard]] double overlap(box const& o) const {
      auto const w = std::min(right, o.right) - std::max(left, o.left),
                 h = std::min(bottom, o.bottom) - std::max(top, o.top);
      return w > 0 && h > 0 ? w * h : 0;
    }
  };
  struct placed {
    double x, baseline;
    box area;
    bool far;                                           // needs a line to its point
    double from_x = 0, from_y = 0, to_x = 0, to_y = 0;  // that line
    [[nodiscard]] std::pair<double, double> along(double t) const {
      return {from_x + t * (to_x - from_x), from_y + t * (to_y - from_y)};
    }
  };
  /// What it costs a label to cover a pixel of this, and its line to run through it.
  struct obstacle {
    box area;
    double cover, cross;
  };

  static constexpr double width = 900, height = 560, left = 88, right = 30, top = 72, bottom = 66;
  static constexpr double letter = 7.3, line = 15,
                          radius = 5;  // of 13 px text; wide enough for the fonts of most viewers

  std::string title_, subtitle_;
  std::vector<chart_point> points_;
  double x_low_ = 0, x_high_ = 1, y_low_ = 0, y_high_ = 1, y_step_ = 1;  // x as log10

 public:
  chart(std::string title, std::string subtitle, std::vector<chart_point> points)
      : title_(std::move(title)), subtitle_(std::move(subtitle)), points_(std::move(points)) {
    choose_ranges();
  }

  /// Throws `std::runtime_error` if the file cannot be written.
  void write(std::string const& path) const { svg::write(path, page()); }

  [[nodiscard]] std::string page() const {
    std::ostringstream out;
    svg::open(out, width, height, title_, light, dark);
    svg::text(out, left, 30, "start", title_, "title");
    svg::text(out, left, 51, "start", subtitle_, "quiet");
    draw_axes(out);
    for (auto const& p : points_) draw_point(out, p);
    auto const labels = place_labels();
    for (auto const& l : labels)
      if (l.far) svg::stroke(out, l.from_x, l.from_y, l.to_x, l.to_y, "leader");
    for (std::size_t i = 0; i < points_.size(); ++i)
      svg::text(out, labels[i].x, labels[i].baseline, "start", points_[i].label, "label");
    out << "</svg>\n";
    return out.str();
  }

 private:
  static constexpr char const* light = R"(.bar { stroke: #0969da; stroke-opacity: .45; stroke-width: 1.5; }
.point { fill: #0969da; stroke: #ffffff; }
.reference { stroke: #bc4c00; stroke-dasharray: 5 4; }
.reference-bar { stroke: #bc4c00; stroke-opacity: .45; stroke-width: 1.5; }
.reference-point { fill: #bc4c00; stroke: #ffffff; }
.leader { stroke: #818b98; stroke-width: .8; }
)";
  static constexpr char const* dark = R"(  .bar { stroke: #58a6ff; }
  .point { fill: #58a6ff; stroke: #0d1117; }
  .reference, .reference-bar { stroke: #f0883e; }
  .reference-point { fill: #f0883e; stroke: #0d1117; }
)";

  void choose_ranges() {
    if (points_.empty()) return;
    auto lowest = points_[0].accuracy, highest = lowest;
    x_low_ = x_high_ = std::log10(points_[0].bytes);
    for (auto const& p : points_) {
      x_low_ = std::min(x_low_, std::log10(p.bytes));
      x_high_ = std::max(x_high_, std::log10(p.bytes));
      lowest = std::min(lowest, p.accuracy - p.spread);
      highest = std::max(highest, p.accuracy + p.spread);
    }
    x_low_ -= 0.5;  // room for labels to the left of the smallest
    x_high_ += 0.12;
    auto const span = std::max(highest - lowest, 2.);
    y_step_ = 20;
    for (double const step : {10., 5., 2., 1., 0.5, 0.2, 0.1})
      if (span / step <= 8) y_step_ = step;
    y_low_ = std::max(0., (std::floor(lowest / y_step_ - 0.3)) * y_step_);
    y_high_ = std::min(100., (std::ceil(highest / y_step_ + 0.3)) * y_step_);
  }

  [[nodiscard]] double x_of(double log_bytes) const {
    return left + (log_bytes - x_low_) / (x_high_ - x_low_) * (width - left - right);
  }
  [[nodiscard]] double y_of(double accuracy) const {
    return height - bottom - (accuracy - y_low_) / (y_high_ - y_low_) * (height - top - bottom);
  }

  void draw_axes(std::ostream& out) const {
    for (int decade = static_cast<int>(std::floor(x_low_)); decade <= static_cast<int>(x_high_); ++decade)
      for (double const digit : {1., 2., 5.}) {
        auto const bytes = digit * std::pow(10., decade);
        auto const at = std::log10(bytes);
        if (at < x_low_ || at > x_high_) continue;
        svg::stroke(out, x_of(at), top, x_of(at), height - bottom, "grid");
        svg::text(out, x_of(at), height - bottom + 20, "middle", svg::size_text(bytes), "quiet");
      }
    for (int i = 0; y_low_ + i * y_step_ <= y_high_ + 1e-9; ++i) {
      auto const y = y_of(y_low_ + i * y_step_);
      svg::stroke(out, left, y, width - right, y, "grid");
      svg::text(out, left - 10, y + 4.5, "end", svg::number(y_low_ + i * y_step_, y_step_ < 1 ? 1 : 0) + " %", "quiet");
    }
    for (auto const& p : points_)
      if (p.reference) svg::stroke(out, left, y_of(p.accuracy), width - right, y_of(p.accuracy), "reference");
    svg::stroke(out, left, height - bottom, width - right, height - bottom, "frame");
    svg::stroke(out, left, top, left, height - bottom, "frame");
    svg::text(out, (left + width - right) / 2, height - 18, "middle",
              "bytes a step and rank (logarithmic; left is less)", "axis");
    svg::text_upwards(out, 20, (top + height - bottom) / 2, "test accuracy");
  }

  void draw_point(std::ostream& out, chart_point const& p) const {
    auto const x = x_of(std::log10(p.bytes)), y = y_of(p.accuracy);
    std::string const kind = p.reference ? "reference-" : "";
    if (p.spread > 0)
      svg::stroke(out, x, y_of(p.accuracy - p.spread), x, y_of(std::min(p.accuracy + p.spread, 100.)), kind + "bar");
    out << R"(<circle class=")" << kind << R"(point" cx=")" << x << R"(" cy=")" << y << R"(" r=")" << radius
        << R"("><title>)" << svg::escaped(p.label) << ": " << svg::number(p.bytes, 0) << " bytes, "
        << svg::number(p.accuracy, 2) << " %</title></circle>\n";
  }

  /// Places one label after the other, crowded points first, each where it covers least and lies near its point.
  [[nodiscard]] std::vector<placed> place_labels() const {
    std::vector<obstacle> obstacles;
    for (auto const& p : points_) {
      auto const x = x_of(std::log10(p.bytes)), y = y_of(p.accuracy);
      obstacles.push_back({{x - radius - 2, y - radius - 2, x + radius + 2, y + radius + 2}, 10, 80});
      obstacles.push_back({{x - 2, y_of(p.accuracy + p.spread), x + 2, y_of(p.accuracy - p.spread)}, 0.3, 3});
      if (p.reference) obstacles.push_back({{left, y - 1, width - right, y + 1}, 0.1, 0});
    }
    std::vector<placed> labels(points_.size());
    for (auto const i : crowded_first()) {
      auto best = 1e9;
      for (double const distance : {10., 22., 36., 52., 70.})
        for (auto const& [dx, dy] : directions) {
          auto const candidate = place(points_[i], dx, dy, distance);
          auto const& a = candidate.area;
          if (a.left < left + 2 || a.right > width - 2 || a.top < top + 2 || a.bottom > height - bottom - 2) continue;
          auto cost = distance + (dy == 0 ? 0 : 2);
          for (auto const& o : obstacles) cost += o.cover * a.overlap(o.area) + o.cross * crossings(candidate, o.area);
          if (cost < best) best = cost, labels[i] = candidate;
        }
      auto const& l = labels[i];
      obstacles.push_back({l.area, 10, 30});
      for (int k = 0; l.far && k <= 20; ++k) {
        auto const [x, y] = l.along(k / 20.);
        obstacles.push_back({{x - 3, y - 3, x + 3, y + 3}, 3, 3});
      }
    }
    return labels;
  }

  static constexpr std::array<std::pair<double, double>, 8> directions{
      {{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {1, 1}, {-1, -1}, {-1, 1}}};

  [[nodiscard]] placed place(chart_point const& p, double dx, double dy, double distance) const {
    auto const w = letter * static_cast<double>(p.label.size());
    auto const x = x_of(std::log10(p.bytes)), y = y_of(p.accuracy);
    auto const start = x + dx * distance + (dx - 1) / 2 * w, middle = y + dy * (distance + line / 2 - 2);
    placed l{start, middle + 4.5, {start - 2, middle - line / 2, start + w + 2, middle + line / 2}, distance > 20};
    l.to_x = std::clamp(x, l.area.left, l.area.right);
    l.to_y = std::clamp(y, l.area.top + 3, l.area.bottom - 3);
    auto const part = (radius + 2) / std::max(std::hypot(l.to_x - x, l.to_y - y), radius + 2);
    l.from_x = x + part * (l.to_x - x);
    l.from_y = y + part * (l.to_y - y);
    return l;
  }

  /// How much of the line to a far label runs through a box.
  static double crossings(placed const& l, box const& b) {
    int hits = 0;
    for (int k = 1; l.far && k <= 20; ++k) {
      auto const [x, y] = l.along(k / 20.);
      hits += b.contains(x, y);
    }
    return hits;
  }

  [[nodiscard]] std::vector<std::size_t> crowded_first() const {
    std::vector<std::pair<double, std::size_t>> by_room;
    for (std::size_t i = 0; i < points_.size(); ++i) {
      double nearest = 1e9;
      for (std::size_t j = 0; j < points_.size(); ++j)
        if (j != i)
          nearest =
              std::min(nearest, std::hypot(x_of(std::log10(points_[i].bytes)) - x_of(std::log10(points_[j].bytes)),
                                           y_of(points_[i].accuracy) - y_of(points_[j].accuracy)));
      by_room.emplace_back(nearest, i);
    }
    std::sort(by_room.begin(), by_room.end());
    std::vector<std::size_t> order;
    for (auto const& [room, i] : by_room) order.push_back(i);
    return order;
  }
};

}  // namespace digits
