// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sparse messages that meet on their way: which entries of them an exchange leaves out.

#include <gradpress/core/step.hpp>
#include <gradpress/kernel/merge.hpp>
#include <gradpress/kernel/sparse.hpp>

#include <span>

namespace gradpress::detail {

/// Folds `theirs` into the entries of `mine`, which have room for k, and keeps the k largest. Returns what that leaves
/// out; it lives in the step's scratch.
template <class Exec>
kernel::stream fold(step<Exec> const& ctx, kernel::stream const& mine, kernel::stream const& theirs, std::size_t k) {
  auto const ka = mine.count, kb = theirs.count;
  auto const at = ctx.template scratch<index_t>(ka + kb);
  auto const values = ctx.scratch(ka + kb);
  std::size_t dropped = 0;
  auto const work = ctx.template scratch<std::byte>(kernel::merge_top_k_workspace(ka, kb));
  kernel::merge_top_k(const_cast<index_t*>(mine.indices), const_cast<float*>(mine.values), ka, theirs.indices,
                      theirs.values, kb, k, work.data(), at.data(), values.data(), dropped);
  return {at.data(), values.data(), dropped};
}

/// The entries of `sent` whose index is not among `kept`, ascending; they live in the step's scratch.
template <class Exec>
kernel::stream without(step<Exec> const& ctx, kernel::stream const& sent, std::span<index_t const> kept) {
  auto const at = ctx.template scratch<index_t>(sent.count);
  auto const values = ctx.scratch(sent.count);
  std::size_t m = 0;
  for (std::size_t i = 0, j = 0; i < sent.count; ++i) {
    while (j < kept.size() && kept[j] < sent.indices[i]) ++j;
    if (j < kept.size() && kept[j] == sent.indices[i]) continue;
    at(m) = sent.indices[i];
    values(m++) = sent.values[i];
  }
  return {at.data(), values.data(), m};
}

GRADPRESS_ONCE(fold);
GRADPRESS_ONCE(without);

}  // namespace gradpress::detail
