// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Products of a large matrix M with thin ones: P = M Q, Q = M^T P, and M against P Q^T.
///
/// M is rows x cols, P is rows x r, Q is cols x r, all row-major floats at any address; r is 1 ... 32, and 1, 2, 4, 8
/// are fastest. All functions work in `low_rank_workspace` bytes. How a sum is split depends on the shape alone: the
/// result is the same for any number of threads and on every instruction set.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/low_rank_chunks.hpp>

#include <atomic>

namespace gradpress::kernel {

/// Bytes that each of the functions below works in.
[[nodiscard]] constexpr std::size_t low_rank_workspace(std::size_t rows, std::size_t cols, std::size_t r) noexcept {
  auto const sets = std::max<std::size_t>(2, detail::row_ranges{rows}.count());
  return sets * detail::vectors_size(cols, r) * sizeof(float) + 64;
}

namespace detail {

/// Q as vectors, in parallel.
template <class Exec>
vectors<float const> split_vectors(Exec const& exec, float const* Q, std::size_t cols, std::size_t r, float* to) {
  vectors<float> const v{to, cols, r};
  for_ranges(exec, "gradpress::kernel::split_vectors", v.stride(), 4096,
             [&](std::size_t from, std::size_t end) { split_range(Q, v, from, end); });
  return {to, cols, r};
}

template <class Exec>
void outer_all(Exec const& exec, outer_task const& t) {
  for_ranges(exec, "gradpress::kernel::outer", t.rows, rows_of_chunk(t.mean.cols),
             [&](std::size_t from, std::size_t end) { outer_rows(t, from, end); });
}

}  // namespace detail

/// P = M Q.
///
/// - Sums   fp32 in 16 lanes.
/// - Cost   reads M once.
template <class Exec>
void multiply(Exec const& exec, float const* M, std::size_t rows, std::size_t cols, float const* Q, std::size_t r,
              std::byte* work, float* P) {
  auto const q = detail::split_vectors(exec, Q, cols, r, detail::aligned(work));
  detail::multiply_task const t{M, nullptr, nullptr, false, rows, q, P, current_isa()};
  for_ranges(exec, "gradpress::kernel::multiply", rows, detail::rows_of_chunk(cols),
             [&](std::size_t from, std::size_t end) { detail::multiply_rows(t, from, end); });
}

/// a = g + e and P = a Q in one pass: the bits of an addition and `multiply`. False: a holds NaN or infinity.
///
/// - Order  a may be g or e.
/// - Cost   reads 2 n floats and writes n, around the caches if a is large, apart from g and e, and its rows are whole
///          cache lines.
template <class Exec>
bool multiply_sum(Exec const& exec, float const* g, float const* e, float* a, std::size_t rows, std::size_t cols,
                  float const* Q, std::size_t r, std::byte* work, float* P) {
  auto const q = detail::split_vectors(exec, Q, cols, r, detail::aligned(work));
  auto const stream = r <= 8 && a != g && a != e && detail::streams_rows(a, rows, cols);
  detail::multiply_task const t{g, e, a, stream, rows, q, P, current_isa()};
  std::atomic<bool> finite{true};
  for_ranges(exec, "gradpress::kernel::multiply_sum", rows, detail::rows_of_chunk(cols),
             [&](std::size_t from, std::size_t end) {
               if (!detail::multiply_rows(t, from, end)) finite.store(false, std::memory_order_relaxed);
             });
  return finite.load();
}

/// a = g + (e - Powed Qowed^T) and P = a Q in one pass: the bits of `outer_subtract` on e and `multiply_sum`, without
/// writing to e.
///
/// - Shape  Powed is rows x r and Qowed cols x r.
/// - Order  a is neither g nor e.
/// - Cost   as `multiply_sum`, and r products an element more.
template <class Exec>
bool multiply_sum_owed(Exec const& exec, float const* g, float const* e, float const* Powed, float const* Qowed,
                       float* a, std::size_t rows, std::size_t cols, float const* Q, std::size_t r, std::byte* work,
                       float* P) {
  auto* const room = detail::aligned(work);
  auto const q = detail::split_vectors(exec, Q, cols, r, room);
  auto const owed = detail::split_vectors(exec, Qowed, cols, r, room + detail::vectors_size(cols, r));
  auto const stream = r <= 8 && detail::streams_rows(a, rows, cols);
  detail::multiply_task const t{g, e, a, stream, rows, q, P, current_isa(), {Powed, owed}};
  std::atomic<bool> finite{true};
  for_ranges(exec, "gradpress::kernel::multiply_sum_owed", rows, detail::rows_of_chunk(cols),
             [&](std::size_t from, std::size_t end) {
               if (!detail::multiply_rows(t, from, end)) finite.store(false, std::memory_order_relaxed);
             });
  return finite.load();
}

/// Q = M^T P.
///
/// - Sums   fp32, row after row inside ranges of at least 256 rows, then over the ranges.
/// - Cost   reads M once; partial results of at most 64 ranges.
template <class Exec>
void multiply_transposed(Exec const& exec, float const* M, std::size_t rows, std::size_t cols, float const* P,
                         std::size_t r, std::byte* work, float* Q) {
  detail::transposed_task const t{M, rows, cols, P, r, detail::aligned(work), Q, current_isa()};
  auto const segments = t.segments();
  for_chunks(exec, "gradpress::kernel::multiply_transposed", segments * t.ranges().count(),
             [&](std::size_t c) { detail::transposed_segment(t, c / segments, c % segments); });
  for_ranges(exec, "gradpress::kernel::combine_ranges", cols, 4096,
             [&](std::size_t from, std::size_t end) { detail::combine_ranges(t, from, end); });
}

/// out = P Q^T.
///
/// - Sums   p0 q0 + p1 q1 + ..., left to right, in fp32.
/// - Cost   writes n floats, around the caches if they are many and the rows whole cache lines.
template <class Exec>
void outer(Exec const& exec, float const* P, float const* Q, std::size_t rows, std::size_t cols, std::size_t r,
           std::byte* work, float* out) {
  auto const q = detail::split_vectors(exec, Q, cols, r, detail::aligned(work));
  detail::outer_all(exec, {P, rows, q, q, out, nullptr, detail::streams_rows(out, rows, cols), current_isa()});
}

/// M -= P Q^T: the bits of `outer` and a subtraction.
template <class Exec>
void outer_subtract(Exec const& exec, float const* P, float const* Q, std::size_t rows, std::size_t cols, std::size_t r,
                    std::byte* work, float* M) {
  auto const q = detail::split_vectors(exec, Q, cols, r, detail::aligned(work));
  detail::outer_all(exec, {P, rows, q, q, nullptr, M, false, current_isa()});
}

/// out = P Qmean^T and M -= P Qown^T in one pass over both; out is not M.
template <class Exec>
void outer_and_subtract(Exec const& exec, float const* P, float const* Qmean, float const* Qown, std::size_t rows,
                        std::size_t cols, std::size_t r, std::byte* work, float* out, float* M) {
  auto* const room = detail::aligned(work);
  auto const mean = detail::split_vectors(exec, Qmean, cols, r, room);
  auto const own = detail::split_vectors(exec, Qown, cols, r, room + detail::vectors_size(cols, r));
  detail::outer_all(exec, {P, rows, mean, own, out, M, detail::streams_rows(out, rows, cols), current_isa()});
}

GRADPRESS_ONCE(multiply);
GRADPRESS_ONCE(multiply_sum);
GRADPRESS_ONCE(multiply_sum_owed);
GRADPRESS_ONCE(multiply_transposed);
GRADPRESS_ONCE(outer);
GRADPRESS_ONCE(outer_subtract);
GRADPRESS_ONCE(outer_and_subtract);

}  // namespace gradpress::kernel
