// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// How a selection and its codes become the bytes of a section, and back.
///
///     [u32 count, if the size varies][coded indices, if the support is this rank's own][codes, padded to 4 bytes]
///
/// All little-endian. docs/wire.md is the specification.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/encode/raw_index.hpp>
#include <gradpress/kernel/merge.hpp>
#include <gradpress/kernel/sparse.hpp>

#include <cstring>
#include <string>

namespace gradpress {

namespace detail {
/// The count in front of `size` bytes of a message of at most `most` entries. Throws `payload_error`.
std::size_t read_count(std::byte const* message, std::size_t size, std::size_t most);
/// Throws `payload_error` unless `size` bytes are what this many entries need.
void check_length(std::size_t size, std::size_t entries, std::size_t needed);

#if GRADPRESS_BODIES
GRADPRESS_INLINE std::size_t read_count(std::byte const* message, std::size_t size, std::size_t most) {
  std::uint32_t count = 0;
  if (size < 4) throw payload_error("is too short for its count");
  std::memcpy(&count, message, 4);
  if (count > most)
    throw payload_error("claims " + std::to_string(count) + " entries of at most " + std::to_string(most));
  return count;
}
GRADPRESS_INLINE void check_length(std::size_t size, std::size_t entries, std::size_t needed) {
  if (size != needed)
    throw payload_error("has " + std::to_string(size) + " bytes where " + std::to_string(entries) + " entries need " +
                        std::to_string(needed));
}
#endif
}  // namespace detail

template <class Exec, class S, class Q, class I = raw_index>
struct message_layout {
  static constexpr bool counted = !S::fixed_size;
  static constexpr bool indexed = S::where == support::own;

  std::size_t count = 0;
  in<Exec, index_t> indices;  // only where they travel raw
  in_bytes<Exec> head, codes;

  [[nodiscard]] static std::size_t codes_at(I const& i, std::size_t n, std::size_t count) {
    return (counted ? 4 : 0) + (indexed ? i.index_bytes(n, count) : 0);
  }
  [[nodiscard]] static std::size_t size(Q const& q, I const& i, std::size_t n, std::size_t count) {
    return codes_at(i, n, count) + padded(q.code_bytes(count));
  }

  /// Writes count and indices; returns where the codes go, with their padding zeroed.
  static bytes<Exec> write_head(Q const& q, I const& i, std::size_t n, selection<Exec> const& kept, bytes<Exec> out) {
    if constexpr (counted) {
      auto const count = static_cast<std::uint32_t>(kept.count);
      std::memcpy(out.data(), &count, 4);
    }
    if constexpr (indexed) i.write(kept.indices.data(), kept.count, n, out.data() + (counted ? 4 : 0));
    auto const m = q.code_bytes(kept.count), at = codes_at(i, n, kept.count);
    clear(out.data() + at + m, padded(m) - m);
    return part(out, at, m);
  }

  /// Reads the head of a section over n coefficients. Throws `payload_error`; trusts nothing.
  static message_layout read(S const& s, Q const& q, I const& i, in_bytes<Exec> m, std::size_t n) {
    message_layout l;
    l.count = s.max_kept(n);
    if constexpr (counted) l.count = detail::read_count(m.data(), m.extent(0), l.count);
    detail::check_length(m.extent(0), l.count, size(q, i, n, l.count));
    auto const codes = codes_at(i, n, l.count);
    l.head = part(m, counted ? 4 : 0, codes - (counted ? 4 : 0));
    if constexpr (indexed && leaves_indices_raw<I>) l.indices = as<index_t>(l.head);
    l.codes = part(m, codes, q.code_bytes(l.count));
    return l;
  }
  /// Throws `payload_error` unless the indices ascend inside [0, n).
  void check_indices(step<Exec> const& ctx, I const& i, std::size_t n) const {
    if constexpr (indexed) {
      bool good;
      if constexpr (leaves_indices_raw<I>)
        good = kernel::valid_indices(indices.data(), count, n);
      else
        good = i.read(head.data(), count, n, ctx.template scratch<index_t>(count).data());
      if (!good) throw payload_error("has indices that do not ascend inside the tensor");
    }
  }
  /// The indices of a message that has been checked; decoded ones live in the step's scratch.
  in<Exec, index_t> positions(step<Exec> const& ctx, I const& i, std::size_t n) const {
    if constexpr (leaves_indices_raw<I>) {
      return indices;
    } else {
      auto const at = ctx.template scratch<index_t>(count);
      static_cast<void>(i.read(head.data(), count, n, at.data()));
      return at;
    }
  }
};

}  // namespace gradpress
