// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Schedules: one value for ever, and values that change at given steps.

#include <gradpress/concepts/schedule.hpp>
#include <gradpress/core/error.hpp>

#include <string>
#include <utility>
#include <vector>

namespace gradpress {

/// The same value in every step.
struct constant {
  double value = 0;
  [[nodiscard]] constexpr double operator()(std::uint64_t) const noexcept { return value; }
};

/// The value of the last piece that has begun.
///
/// - Order     pieces ascend by step, and the first begins at step 0.
/// - Cost      a search in a sorted list; no allocation after the construction.
class piecewise {
 public:
  struct piece {
    std::uint64_t from = 0;
    double value = 0;
  };
  /// `piecewise{{{0, 0.25}, {390, 0.063}, {780, 0.01}}}`. Throws `configuration_error` if the pieces are not in order.
  explicit piecewise(std::vector<piece> pieces) : pieces_(std::move(pieces)) {
    if (pieces_.empty() || pieces_[0].from != 0)
      throw configuration_error("piecewise: the first piece must begin at step 0, so that every step has a value");
    for (std::size_t i = 1; i < pieces_.size(); ++i)
      if (pieces_[i].from <= pieces_[i - 1].from)
        throw configuration_error("piecewise: pieces must ascend by step; piece " + std::to_string(i) + " begins at " +
                                  std::to_string(pieces_[i].from) + ", after one that begins at " +
                                  std::to_string(pieces_[i - 1].from));
  }
  [[nodiscard]] double operator()(std::uint64_t step) const noexcept {
    std::size_t first = 0, last = pieces_.size();  // first has begun, last has not
    while (last - first > 1) {
      auto const middle = first + (last - first) / 2;
      (pieces_[middle].from <= step ? first : last) = middle;
    }
    return pieces_[first].value;
  }

 private:
  std::vector<piece> pieces_;
};

static_assert(explain_schedule<constant>() && explain_schedule<piecewise>());

}  // namespace gradpress
