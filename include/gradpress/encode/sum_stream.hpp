// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The sum of several ranks' sparse vectors as one message: sparse while that is shorter, dense from there on.
///
///     [u32 count][u32 index x count, ascending][f32 x count]        while 8 count < 4 length
///     [u32 0xffffffff][f32 x length]                                else
///
/// All little-endian. docs/wire.md is the specification.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/merge.hpp>
#include <gradpress/kernel/sparse_sum.hpp>

#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace gradpress {

/// Part p of n coefficients that are cut into `parts`: where it starts, and its length; the last parts are shorter.
[[nodiscard]] constexpr std::pair<std::size_t, std::size_t> slice_of(std::size_t n, std::size_t p,
                                                                     std::size_t parts) noexcept {
  auto const each = (n + parts - 1) / parts, from = std::min(n, p * each);
  return {from, std::min(n - from, each)};
}

/// A message over `length` coefficients, as a receiver sees it: `dense` values, or `sparse` entries.
struct sum_stream {
  static constexpr std::uint32_t dense_mark = 0xffffffffu;  // no count: tensors have fewer than 2^32 elements

  std::size_t length = 0;
  float const* dense = nullptr;  ///< null where the message is sparse
  kernel::stream sparse{};

  /// Whether a sum of at most `bound` entries travels dense. Judged by the bound: nothing has to be counted first.
  [[nodiscard]] static constexpr bool pays_dense(std::size_t bound, std::size_t length) noexcept {
    return 2 * bound >= length;
  }
  /// Bytes of a sum of `bound` entries, the most that a sum of fewer can have.
  [[nodiscard]] static constexpr std::size_t bytes_of(std::size_t bound, std::size_t length) noexcept {
    return 4 + (pays_dense(bound, length) ? 4 * length : 8 * bound);
  }
  [[nodiscard]] std::size_t size() const noexcept { return 4 + (dense != nullptr ? 4 * length : 8 * sparse.count); }
  /// Where the message that was read begins.
  [[nodiscard]] std::byte const* data() const noexcept {
    return reinterpret_cast<std::byte const*>(dense != nullptr ? static_cast<void const*>(dense) : sparse.indices) - 4;
  }
  /// All numbers of the message, whatever they stand for.
  [[nodiscard]] std::span<float const> values() const noexcept {
    return dense != nullptr ? std::span(dense, length) : std::span(sparse.values, sparse.count);
  }

  /// Reads the message at the front of `available` bytes at m. Throws `payload_error`; trusts nothing.
  [[nodiscard]] static sum_stream read(std::byte const* m, std::size_t available, std::size_t length);

  /// Writes the entries of `own` whose indices lie in [from, from + length), as offsets from there. Returns the bytes.
  static std::size_t write(kernel::stream const& own, std::size_t from, std::size_t length, std::byte* out) noexcept {
    auto const begin = kernel::detail::find_from(own, from),
               count = kernel::detail::find_from(own, from + length) - begin;
    if (pays_dense(count, length)) {
      auto* const x = start_dense(length, out);
      for (std::size_t i = begin; i < begin + count; ++i) x[own.indices[i] - from] += own.values[i];
    } else {
      auto* const at = reinterpret_cast<index_t*>(out + 4);
      for (std::size_t i = 0; i < count; ++i) at[i] = own.indices[begin + i] - static_cast<index_t>(from);
      finish_sparse(count, own.values + begin, out);
    }
    return bytes_of(count, length);
  }

  /// Writes a + b, with the same bits as b + a. Returns the bytes: at most bytes_of(entries of both), for which there is
  /// room.
  static std::size_t write_sum(sum_stream const& a, sum_stream const& b, std::byte* out) noexcept {
    auto const bound = a.sparse.count + b.sparse.count, n = a.length;
    if (a.dense == nullptr && b.dense == nullptr && !pays_dense(bound, n)) {
      auto* const at = reinterpret_cast<index_t*>(out + 4);
      auto* const x = reinterpret_cast<float*>(at + bound);
      auto const count = kernel::detail::merge_add(a.sparse.indices, a.sparse.values, a.sparse.count, b.sparse.indices,
                                                   b.sparse.values, b.sparse.count, at, x);
      finish_sparse(count, x, out);
      return 4 + 8 * count;
    }
    auto* const x = start_dense(n, out);
    a.add_to(x);
    b.add_to(x);
    return 4 + 4 * n;
  }

  /// Writes ((0 + first) + second) + ..., in the order of the parts; the same bits, sparse or dense. Returns the bytes.
  /// next: a word a part. streams: room for as many.
  static std::size_t write_sum(std::span<sum_stream const> all, std::size_t length, kernel::stream* streams,
                               std::size_t* next, std::byte* out) noexcept {
    std::size_t bound = 0;
    bool dense = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      streams[i] = all[i].sparse;
      bound += all[i].sparse.count;
      dense = dense || all[i].dense != nullptr;
    }
    if (!dense && !pays_dense(bound, length)) {
      auto* const at = reinterpret_cast<index_t*>(out + 4);
      auto* const x = reinterpret_cast<float*>(at + bound);
      auto const count = kernel::sum_streams(streams, all.size(), next, at, x);
      finish_sparse(count, x, out);
      return 4 + 8 * count;
    }
    std::memcpy(out, &dense_mark, 4);
    add_all(all, length, reinterpret_cast<float*>(out + 4));
    return 4 + 4 * length;
  }

  /// x = ((0 + first) + second) + ..., dense.
  static void add_all(std::span<sum_stream const> all, std::size_t length, float* x) noexcept {
    std::fill_n(x, length, 0.0f);
    for (auto const& s : all) s.add_to(x);
  }

  /// x += what the message holds.
  void add_to(float* x) const noexcept {
    if (dense != nullptr)
      for (std::size_t i = 0; i < length; ++i) x[i] += dense[i];
    for (std::size_t i = 0; i < sparse.count; ++i) x[sparse.indices[i]] += sparse.values[i];
  }

 private:
  static float* start_dense(std::size_t length, std::byte* out) noexcept {
    std::memcpy(out, &dense_mark, 4);
    auto* const x = reinterpret_cast<float*>(out + 4);
    std::fill_n(x, length, 0.0f);
    return x;
  }
  /// Indices are in place; the values move to where they belong.
  static void finish_sparse(std::size_t count, float const* values, std::byte* out) noexcept {
    auto const n = static_cast<std::uint32_t>(count);
    std::memcpy(out, &n, 4);
    if (count > 0) std::memmove(out + 4 + 4 * count, values, 4 * count);
  }
};

#if GRADPRESS_BODIES
GRADPRESS_INLINE sum_stream sum_stream::read(std::byte const* m, std::size_t available, std::size_t length) {
  sum_stream s{.length = length};
  std::uint32_t count = 0;
  if (available < 4) throw payload_error("is too short for the count of a sum");
  std::memcpy(&count, m, 4);
  if (count == dense_mark) {
    if ((available - 4) / 4 < length) throw payload_error("is too short for a dense sum");
    s.dense = reinterpret_cast<float const*>(m + 4);
    return s;
  }
  if (pays_dense(count, length))
    throw payload_error("claims " + std::to_string(count) + " entries of a sum of " + std::to_string(length) +
                        ", which would travel dense");
  if ((available - 4) / 8 < count) throw payload_error("is too short for the entries of a sum");
  s.sparse.indices = reinterpret_cast<index_t const*>(m + 4);
  s.sparse.values = reinterpret_cast<float const*>(m + 4 + 4 * std::size_t{count});
  s.sparse.count = count;
  if (!kernel::valid_indices(s.sparse.indices, count, length))
    throw payload_error("has indices that do not ascend inside the tensor");
  return s;
}
#endif

}  // namespace gradpress
