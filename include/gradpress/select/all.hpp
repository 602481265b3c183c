// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: every coefficient.

#include <gradpress/concepts/selector.hpp>

namespace gradpress {

/// The identity. The library never calls `select` for it: dense messages need no indices.
struct select_all {
  using family = family::selector;
  static constexpr std::string_view name = "all";
  static constexpr support where = support::all;
  static constexpr bool fixed_size = true;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }

  template <class Exec>
  void select(step<Exec> const&, in<Exec> x, selection<Exec>& kept) const {
    kept.count = x.extent(0);
    for (std::size_t i = 0; i < kept.count; ++i) kept.indices(i) = static_cast<index_t>(i);
  }
};

static_assert(explain_selector<select_all>());

}  // namespace gradpress
