// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Where one rank leads, its support travels in a phase of its own, and the others' sections of that phase are empty.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/coder.hpp>
#include <gradpress/core/error.hpp>

#include <string>

namespace gradpress::detail {

/// Keeps the first k entries.
template <class Exec>
void keep_first(selection<Exec>& kept, std::size_t k) {
  for (index_t i = 0; i < k; ++i) kept.indices(i) = i;
  kept.count = k;
}

template <class Exec, class S>
bool is_leader([[maybe_unused]] S const& s, step<Exec> const& ctx) {
  if constexpr (leading<S>) return s.leader(ctx) == ctx.rank;
  return false;
}

/// Throws `payload_error` unless the leader sent `due` bytes, and nobody else any.
template <class Exec>
void check_support_sizes(arrival<Exec> arrived, std::size_t leader, std::size_t due) {
  for (std::size_t p = 0; p < arrived.messages.size(); ++p)
    if (auto const size = p == leader ? due : 0; arrived.messages[p].extent(0) != size)
      throw payload_error("has a support of " + std::to_string(arrived.messages[p].extent(0)) + " bytes from rank " +
                          std::to_string(p) + " where " + std::to_string(size) + " were due");
}

/// Takes the support over n coefficients that the leader sent. Throws `payload_error`.
template <class Exec, class S, class I>
void take_support(S const& s, I const& indices, step<Exec> const& ctx, arrival<Exec> arrived, std::size_t n,
                  selection<Exec>& kept) {
  auto const k = s.max_kept(n);
  auto const leader = static_cast<std::size_t>(s.leader(ctx));
  check_support_sizes(arrived, leader, indices.index_bytes(n, k));
  if (!indices.read(arrived.messages[leader].data(), k, n, kept.indices.data()))
    throw payload_error("has a support whose indices do not ascend inside the tensor");
  kept.count = k;
}

GRADPRESS_ONCE(keep_first);
GRADPRESS_ONCE(check_support_sizes);

}  // namespace gradpress::detail
