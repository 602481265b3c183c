// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Compaction: the indices of all entries whose magnitude reaches a known threshold.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/forming.hpp>
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
/// Values of the kept entries, which go to `out` unless it is null; false if one is not finite. A streamed sum has left the
/// cache, its terms have not.
inline bool take_values(marked_input const& in, index_t const* at, std::size_t count, float* out) noexcept {
  std::uint32_t largest = 0;
  for (std::size_t j = 0; j < count; ++j) {
    auto const v = in.e == nullptr ? in.x[at[j]] : in.x[at[j]] + in.e[at[j]];
    largest = std::max(largest, magnitude(v));
    if (out != nullptr) out[j] = v;
  }
  return largest < not_finite;
}

/// Compaction of x or of a sum; or, where there is a form, of the signal that it makes, which goes to in.sum piece by piece.
template <class Exec>
std::size_t compact_any(Exec const& exec, marked_input const& in, forming const* form, std::size_t n, float tau,
                        index_t* kept, float* values, std::size_t* counts, bool& finite) {
  line_chunks const chunks(in.sum == nullptr ? in.x : in.sum, n);
  auto const how = current_isa();
  auto const threshold = lowest_kept(tau);
  std::atomic<bool> seen{false};
  for_chunks(exec, "gradpress::kernel::compact", chunks.count(), [&](std::size_t c) {
    auto const begin = chunks.begin(c), end = chunks.end(c);
    bool good = true;
    if (form == nullptr) {
      chunk_mask mask;
      counts[c] = mark_above(how, in, begin, end, threshold, mask);
      list_marked(how, mask, begin, counts[c], kept + begin);
      good = take_values(in, kept + begin, counts[c], values == nullptr ? nullptr : values + begin);
    } else {
      counts[c] = 0;
      alignas(64) float piece[forming::piece];
      for (auto from = begin; from < end; from += forming::piece) {
        auto const m = std::min(forming::piece, end - from), at = begin + counts[c];
        (*form)(from, from + m, piece);
        marks<forming::piece> mask;
        auto const hits = mark_above(how, {piece}, 0, m, threshold, mask);
        list_marked(how, mask, 0, hits, kept + at);
        good = take_values({piece}, kept + at, hits, values == nullptr ? nullptr : values + at) && good;
        for (auto j = at; j < at + hits; ++j) kept[j] += static_cast<index_t>(from);
        put_piece(piece, m, in.sum + from, in.streaming);
        counts[c] += hits;
      }
      end_streaming(true);
    }
    if (!good) seen.store(true, std::memory_order_relaxed);
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
  return detail::compact_any<Exec>(exec, {x}, nullptr, n, tau, kept, values, counts, finite);
}
template <class Exec>
std::size_t compact_positions(Exec const& exec, float const* x, std::size_t n, float tau, index_t* kept,
                              std::size_t* counts, bool& finite) {
  return compact(exec, x, n, tau, kept, nullptr, counts, finite);
}
/// compact of the sum a = g + e, which is formed in the same pass: 12 bytes of traffic an element.
///
/// `a` is complete afterwards, whatever is kept. It overlaps neither g nor e.
template <class Exec>
std::size_t compact_sum(Exec const& exec, float const* g, float const* e, float* a, std::size_t n, float tau,
                        index_t* kept, float* values, std::size_t* counts, bool& finite) {
  return detail::compact_any<Exec>(exec, {g, e, a, n >= detail::streaming_from}, nullptr, n, tau, kept, values, counts,
                                   finite);
}
/// compact of any signal, which `form` makes in the same pass: the traffic of that, and 4 bytes an element to write it to
/// `a`, complete afterwards. `a` overlaps nothing that `form` reads or writes.
template <class Exec>
std::size_t compact_formed(Exec const& exec, forming const& form, float* a, std::size_t n, float tau, index_t* kept,
                           float* values, std::size_t* counts, bool& finite) {
  return detail::compact_any<Exec>(exec, {nullptr, nullptr, a, n >= detail::streaming_from}, &form, n, tau, kept,
                                   values, counts, finite);
}

GRADPRESS_ONCE(compact);
GRADPRESS_ONCE(compact_positions);
GRADPRESS_ONCE(compact_sum);
GRADPRESS_ONCE(compact_formed);

}  // namespace gradpress::kernel
