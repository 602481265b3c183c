// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What charts share: a page with its title, strokes and words as SVG, and how numbers are written.

#include <fstream>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace svg {

inline std::string escaped(std::string const& words) {
  std::string safe;
  for (char const c : words) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else
      safe += c;
  }
  return safe;
}

inline std::string number(double value, int decimals) {
  std::ostringstream words;
  words << std::fixed << std::setprecision(decimals) << value;
  return words.str();
}

/// "512 B", "20 kB", "3 MB", "1 GB".
inline std::string size_text(double bytes) {
  if (bytes < 999) return number(bytes, 0) + " B";
  if (bytes < 999e3) return number(bytes / 1e3, 0) + " kB";
  return bytes < 999e6 ? number(bytes / 1e6, 0) + " MB" : number(bytes / 1e9, 0) + " GB";
}

inline void stroke(std::ostream& out, double x1, double y1, double x2, double y2, std::string const& kind) {
  out << R"(<line class=")" << kind << R"(" x1=")" << x1 << R"(" y1=")" << y1 << R"(" x2=")" << x2 << R"(" y2=")" << y2
      << "\"/>\n";
}

/// `anchor` is start, middle or end.
inline void text(std::ostream& out, double x, double y, char const* anchor, std::string const& words,
                 char const* kind) {
  out << R"(<text class=")" << kind << R"(" x=")" << x << R"(" y=")" << y << R"(" text-anchor=")" << anchor << R"(">)"
      << escaped(words) << "</text>\n";
}

/// Words that run upwards, centred on (x, y).
inline void text_upwards(std::ostream& out, double x, double y, std::string const& words) {
  out << R"(<text transform="translate()" << x << ' ' << y << R"lit() rotate(-90)" text-anchor="middle">)lit"
      << escaped(words) << "</text>\n";
}

/// Opens a page of paper of its own, so that it is readable on any page; viewers that prefer dark get dark paper. The
/// classes text, title, quiet, label, paper, grid and frame are there; `light` and `dark` are a chart's own. To be
/// closed by `</svg>`.
inline void open(std::ostream& out, double width, double height, std::string const& title, std::string const& light,
                 std::string const& dark) {
  out << std::fixed << std::setprecision(1) << R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 )" << width
      << ' ' << height << R"(" width=")" << width << R"(" height=")" << height << R"(" role="img">)" << '\n'
      << "<title>" << escaped(title) << "</title>\n"
      << R"(<style>
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328; }
.label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
.title { font-size: 17px; font-weight: 600; }
.quiet { fill: #59636e; }
.paper { fill: #ffffff; }
.grid { stroke: #e3e7eb; }
.frame { stroke: #818b98; }
)" << light
      << R"(@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  .paper { fill: #0d1117; }
  .label { stroke: #0d1117; }
  .grid { stroke: #262c34; }
  .frame { stroke: #656c76; }
)" << dark
      << R"(}
</style>
<rect class="paper" width="100%" height="100%"/>)"
      << '\n';
}

/// Throws `std::runtime_error` if the file cannot be written.
inline void write(std::string const& path, std::string const& page) {
  std::ofstream file(path);
  file << page;
  file.close();
  if (!file) throw std::runtime_error("cannot write the chart to '" + path + "'");
}

}  // namespace svg
