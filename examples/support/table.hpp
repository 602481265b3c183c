// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A text table: first column to the left, numbers to the right.

#include <algorithm>
#include <cstddef>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace report {

/// Rows of as many cells as the heading; a heading may have several lines, separated by '\n'.
class table {
  std::vector<std::string> heading_;
  std::vector<std::vector<std::string>> rows_;

 public:
  explicit table(std::vector<std::string> heading) : heading_(std::move(heading)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  void print(std::ostream& out) const {
    auto const lines = heading_lines();
    std::vector<std::size_t> width(heading_.size());
    for (auto const* part : {&lines, &rows_})
      for (auto const& row : *part)
        for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());

    for (auto const& line : lines) print_row(out, line, width);
    for (std::size_t c = 0; c < width.size(); ++c) out << (c == 0 ? "" : "  ") << std::string(width[c], '-');
    out << '\n';
    for (auto const& row : rows_) print_row(out, row, width);
  }

 private:
  /// The heading as rows, the shorter cells at the bottom.
  std::vector<std::vector<std::string>> heading_lines() const {
    std::size_t depth = 1;
    auto const lines_of = [](std::string const& s) {
      return 1 + static_cast<std::size_t>(std::count(s.begin(), s.end(), '\n'));
    };
    for (auto const& h : heading_) depth = std::max(depth, lines_of(h));
    std::vector<std::vector<std::string>> lines(depth, std::vector<std::string>(heading_.size()));
    for (std::size_t c = 0; c < heading_.size(); ++c) {
      std::istringstream words(heading_[c]);
      for (std::size_t l = depth - lines_of(heading_[c]); l < depth; ++l) std::getline(words, lines[l][c]);
    }
    return lines;
  }

  static void print_row(std::ostream& out, std::vector<std::string> const& row, std::vector<std::size_t> const& width) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) out << "  ";
      out << (c == 0 ? std::left : std::right) << std::setw(static_cast<int>(width[c])) << row[c];
    }
    out << '\n';
  }
};

/// A number with a fixed number of decimals.
inline std::string fixed(double value, int decimals) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(decimals) << value;
  return text.str();
}

}  // namespace report
