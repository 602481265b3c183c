// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Curves as SVG: panels side by side and in rows, all with the same axes, and one legend above them.

#include "svg.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace svg {

/// What a coordinate counts decides how its ticks are written and spaced.
enum class axis { linear, logarithmic, bytes };  // bytes: logarithmic too

/// How a curve is drawn wherever it occurs. Colours for light and for dark paper; dashes as SVG wants them, or nothing.
struct pen {
  std::string label, light, dark, dashes;
};

/// Points (x, y) from left to right, drawn with the pen of that number.
struct curve {
  std::size_t pen = 0;
  std::vector<std::pair<double, double>> points;
};

struct panel {
  std::string title;
  std::vector<curve> curves;
};

/// Colours that people tell apart whatever their eyes: M. Okabe and K. Ito, Color Universal Design, 2008; the first is
/// the paper's opposite.
inline pen okabe_ito(std::size_t colour, std::string label, std::string dashes = {}) {
  static constexpr char const* light[] = {"#1f2328", "#0072b2", "#d55e00", "#009e73", "#cc79a7"};
  static constexpr char const* dark[] = {"#e6edf3", "#56b4e9", "#e69f00", "#2bc79a", "#e29cc4"};
  return {std::move(label), light[colour], dark[colour], std::move(dashes)};
}

class line_chart {
 public:
  std::string title, subtitle, x_title, y_title;
  axis x = axis::linear, y = axis::linear;
  std::vector<pen> pens;
  std::vector<panel> panels;
  std::size_t columns = 3;
  double inner_width = 264, inner_height = 196;  ///< of a panel, in pixels
  double y_low = std::numeric_limits<double>::quiet_NaN();   ///< y begins here or below; by the curves unless set
  double y_high = std::numeric_limits<double>::quiet_NaN();  ///< what lies higher is cut off; nothing unless set

  /// Throws `std::runtime_error` if the file cannot be written.
  void write(std::string const& path) const { svg::write(path, page()); }

  [[nodiscard]] std::string page() const {
    auto const ranges = find_ranges();
    auto const rows = (panels.size() + columns - 1) / columns;
    auto const width = left + static_cast<double>(columns) * (inner_width + gap) - gap + right;
    auto const height = top + static_cast<double>(rows) * (inner_height + row_gap) - row_gap + bottom;
    std::ostringstream out, light, dark;
    light << ".curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }\n.name { font-weight: 600; }\n";
    for (std::size_t i = 0; i < pens.size(); ++i) {
      light << ".pen" << i << " { stroke: " << pens[i].light;
      if (!pens[i].dashes.empty()) light << "; stroke-dasharray: " << pens[i].dashes;
      light << "; }\n";
      dark << "  .pen" << i << " { stroke: " << pens[i].dark << "; }\n";
    }
    open(out, width, height, title, light.str(), dark.str());
    text(out, left, 30, "start", title, "title");
    text(out, left, 51, "start", subtitle, "quiet");
    draw_legend(out);
    for (std::size_t i = 0; i < panels.size(); ++i) {
      frame const f{left + static_cast<double>(i % columns) * (inner_width + gap),
                    top + static_cast<double>(i / columns) * (inner_height + row_gap),
                    inner_width,
                    inner_height,
                    ranges.first,
                    ranges.second,
                    x,
                    y};
      draw_panel(out, f, panels[i], i % columns == 0, i + columns >= panels.size());
    }
    text(out, (left + width - right) / 2, height - 14, "middle", x_title, "axis");
    text_upwards(out, 18, (top + height - bottom) / 2, y_title);
    out << "</svg>\n";
    return out.str();
  }

 private:
  static constexpr double left = 76, right = 24, top = 126, bottom = 62, gap = 22, row_gap = 44;
  static constexpr double letter = 7;  // of 13 px text; wide enough for the fonts of most viewers

  struct range {
    double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
    void take(double v) { low = std::min(low, v), high = std::max(high, v); }
  };
  /// Where one panel lies, and what its coordinates mean.
  struct frame {
    double at_x, at_y, width, height;
    range x_range, y_range;
    axis x_axis, y_axis;
    [[nodiscard]] double x_of(double v) const { return at_x + share(v, x_range, x_axis) * width; }
    [[nodiscard]] double y_of(double v) const { return at_y + (1 - share(v, y_range, y_axis)) * height; }
    static double share(double v, range const& r, axis a) {
      if (a == axis::linear) return (v - r.low) / (r.high - r.low);
      return std::log(v / r.low) / std::log(r.high / r.low);
    }
  };

  [[nodiscard]] std::pair<range, range> find_ranges() const {
    range across, up;
    for (auto const& p : panels)
      for (auto const& c : p.curves)
        for (auto const& [at, value] : c.points) across.take(at), up.take(value);
    if (!(across.low <= across.high)) across = up = {1, 2};  // nothing to draw
    if (!std::isnan(y_low)) up.low = std::min(up.low, y_low);
    if (!std::isnan(y_high)) up = {std::min(up.low, y_high), std::min(up.high, y_high)};
    return {padded(across, x, x == axis::linear ? 0 : 0.02), padded(up, y, 0.03)};
  }
  static range padded(range r, axis a, double by) {
    if (a != axis::linear) {
      if (r.low == r.high) r.low /= 2, r.high *= 2;
      auto const stretch = std::pow(r.high / r.low, by);
      return {r.low / stretch, r.high * stretch};
    }
    if (r.low == r.high) r.low -= 1, r.high += 1;
    auto const more = by * (r.high - r.low);
    return {r.low - more, r.high + more};
  }

  /// 1, 2 or 5 times a power of ten, a handful of them; on a logarithmic axis of more than two decades, the powers alone.
  static std::vector<double> ticks(range const& r, axis a) {
    std::vector<double> all;
    if (a == axis::linear) {
      auto const power = std::pow(10., std::floor(std::log10((r.high - r.low) / 4)));
      auto step = power;
      for (double const factor : {2., 5., 10.})
        if ((r.high - r.low) / step > 6) step = factor * power;
      for (auto i = std::ceil(r.low / step - 1e-9); i * step <= r.high * (1 + 1e-9); ++i) all.push_back(i * step);
      return all;
    }
    bool const wide = r.high / r.low > 150;
    for (auto decade = std::floor(std::log10(r.low)); decade <= std::log10(r.high); ++decade)
      for (double const digit : {1., 2., 5.}) {
        auto const v = digit * std::pow(10., decade);
        if (v >= r.low && v <= r.high && (digit == 1 || !wide)) all.push_back(v);
      }
    return all;
  }
  static std::string tick_text(double v, axis a) {
    if (a == axis::bytes) return size_text(v);
    std::ostringstream words;
    words << (std::abs(v) < 1e-12 ? 0. : v);
    return words.str();
  }

  void draw_legend(std::ostream& out) const {
    double at = left;
    for (std::size_t i = 0; i < pens.size(); ++i) {
      stroke(out, at, 74, at + 30, 74, "curve pen" + std::to_string(i));
      text(out, at + 36, 78.5, "start", pens[i].label, "key");
      at += 36 + letter * static_cast<double>(pens[i].label.size()) + 16;
    }
  }

  void draw_panel(std::ostream& out, frame const& f, panel const& p, bool first, bool last) const {
    auto const bottom_y = f.at_y + inner_height;
    for (double const v : ticks(f.x_range, x)) {
      stroke(out, f.x_of(v), f.at_y, f.x_of(v), bottom_y, "grid");
      auto const words = tick_text(v, x);
      auto const reach = letter / 2 * static_cast<double>(words.size()) - gap / 2;  // over its panel's sides
      if (last && f.x_of(v) - reach >= f.at_x && f.x_of(v) + reach <= f.at_x + inner_width)
        text(out, f.x_of(v), bottom_y + 18, "middle", words, "quiet");
    }
    for (double const v : ticks(f.y_range, y)) {
      stroke(out, f.at_x, f.y_of(v), f.at_x + inner_width, f.y_of(v), "grid");
      if (first) text(out, f.at_x - 8, f.y_of(v) + 4.5, "end", tick_text(v, y), "quiet");
    }
    stroke(out, f.at_x, bottom_y, f.at_x + inner_width, bottom_y, "frame");
    stroke(out, f.at_x, f.at_y, f.at_x, bottom_y, "frame");
    text(out, f.at_x + 2, f.at_y - 8, "start", p.title, "name");
    for (auto const& c : p.curves)
      for (auto const& piece : visible(f, c)) {
        out << R"(<polyline class="curve pen)" << c.pen << R"(" points=")";
        for (auto const& [at, height] : piece) out << at << ',' << height << ' ';
        out << "\"><title>" << escaped(pens[c.pen].label) << "</title></polyline>\n";
      }
  }

  using pixels = std::vector<std::pair<double, double>>;
  /// The parts of a curve that do not lie above its panel, up to where they leave it.
  static std::vector<pixels> visible(frame const& f, curve const& c) {
    std::vector<pixels> pieces;
    bool inside = false;
    double last_x = 0, last_y = 0;
    auto const edge = f.at_y;
    for (std::size_t i = 0; i < c.points.size(); ++i) {
      auto const at = f.x_of(c.points[i].first), height = f.y_of(c.points[i].second);
      bool const now = height >= edge;
      if (now && !inside) pieces.emplace_back();
      if (i > 0 && now != inside)
        pieces.back().emplace_back(last_x + (at - last_x) * (edge - last_y) / (height - last_y), edge);
      if (now) pieces.back().emplace_back(at, height);
      inside = now, last_x = at, last_y = height;
    }
    return pieces;
  }
};

}  // namespace svg
