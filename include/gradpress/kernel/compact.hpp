// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Compaction: the indices of all entries whose magnitude reaches a known threshold.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/launch.hpp>

#include <atomic>
#include <cstring>

namespace gradpress::kernel {

/// Entries of workspace that `compact` needs.
[[nodiscard]] constexpr std::size_t compact_chunks(std::size_t n) noexcept { return line_chunks::bound(n); }

namespace detail {

/// The lowest magnitude that a threshold keeps; at most not_finite, so that NaN is always kept.
[[nodiscard]] inline std::uint32_t lowest_kept(float tau) noexcept {
  if (tau <= 0) return 0;
  return std::min(magnitude(tau), not_finite);
}
[[nodiscard]] inline bool all_finite(float const* x, index_t const* at, std::size_t count) noexcept {
  std::uint32_t largest = 0;
  for (std::size_t j = 0; j < count; ++j) largest = std::max(largest, magnitude(x[at[j]]));
  return largest < not_finite;
}

}  // namespace detail

/// The entries of x with |x[i]| >= tau, by ascending index, and their values unless `values` is null.
///
/// - Shape   x: n < 2^32 values. kept, values: room for n, of which little more than what is kept is touched. counts:
///           compact_chunks(n) entries.
/// - Order   indices ascend.
/// - Cost    one pass over x: 4 bytes of traffic an element, and 4 to 8 an entry kept, twice that with values.
/// - Edges   tau <= 0 keeps everything. NaN and infinities are always kept; a NaN tau keeps
///           only what is not finite. `finite` says that no entry is NaN or infinite.
/// Returns the number kept.
template <class Exec>
std::size_t compact(Exec const& exec, float const* x, std::size_t n, float tau, index_t* kept, float* values,
                    std::size_t* counts, bool& finite) {
  line_chunks const chunks(x, n);
  auto const how = current_isa();
  auto const threshold = detail::lowest_kept(tau);
  std::atomic<bool> seen{false};
  for_chunks(exec, "gradpress::kernel::compact", chunks.count(), [&](std::size_t c) {
    auto const begin = chunks.begin(c);
    chunk_mask mask;
    counts[c] = mark_above(how, {x}, begin, chunks.end(c), threshold, mask);
    list_marked(how, mask, begin, counts[c], kept + begin);
    if (!detail::all_finite(x, kept + begin, counts[c])) seen.store(true, std::memory_order_relaxed);
    if (values != nullptr)
      for (auto j = begin; j < begin + counts[c]; ++j) values[j] = x[kept[j]];
  });
  finite = !seen.load();
  // Moved in order: a chunk's hits only ever move down, into the room of chunks that have moved already.
  std::size_t total = 0;
  for (std::size_t c = 0; c < chunks.count(); total += counts[c++]) {
    auto const from = chunks.begin(c);
    if (total == from) continue;
    std::memmove(kept + total, kept + from, counts[c] * sizeof(index_t));
    if (values != nullptr) std::memmove(values + total, values + from, counts[c] * sizeof(float));
  }
  return total;
}
template <class Exec>
std::size_t compact_positions(Exec const& exec, float const* x, std::size_t n, float tau, index_t* kept,
                              std::size_t* counts, bool& finite) {
  return compact(exec, x, n, tau, kept, nullptr, counts, finite);
}

GRADPRESS_ONCE(compact);
GRADPRESS_ONCE(compact_positions);

}  // namespace gradpress::kernel
