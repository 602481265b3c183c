// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// How a selection and its codes become the bytes of a section, and back.
///
///     [u32 count, if the size varies][u32 index x count, if the support is this rank's own][codes, padded to 4 bytes]
///
/// All little-endian. docs/wire.md is the specification.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/merge.hpp>
#include <gradpress/kernel/sparse.hpp>

#include <cstring>
#include <string>

namespace gradpress {

template <class Exec, class S, class Q>
struct message_layout {
  static constexpr bool counted = !S::fixed_size;
  static constexpr bool indexed = S::where == support::own;

  std::size_t count = 0;
  in<Exec, index_t> indices;
  in_bytes<Exec> codes;

  [[nodiscard]] static std::size_t size(Q const& q, std::size_t count) {
    return (counted ? 4 : 0) + (indexed ? 4 * count : 0) + padded(q.code_bytes(count));
  }
  [[nodiscard]] static std::size_t codes_at(std::size_t count) { return (counted ? 4 : 0) + (indexed ? 4 * count : 0); }

  /// Writes count and indices; returns where the codes go, with their padding zeroed.
  static bytes<Exec> write_head(Q const& q, selection<Exec> const& kept, bytes<Exec> out) {
    if constexpr (counted) {
      auto const count = static_cast<std::uint32_t>(kept.count);
      std::memcpy(out.data(), &count, 4);
    }
    if constexpr (indexed)
      if (kept.count > 0) std::memcpy(out.data() + (counted ? 4 : 0), kept.indices.data(), 4 * kept.count);
    auto const m = q.code_bytes(kept.count), at = codes_at(kept.count);
    clear(out.data() + at + m, padded(m) - m);
    return part(out, at, m);
  }

  /// Reads the head of a section over n coefficients. Throws `payload_error`; trusts nothing.
  static message_layout read(S const& s, Q const& q, in_bytes<Exec> m, std::size_t n) {
    message_layout l;
    l.count = s.max_kept(n);
    if constexpr (counted) {
      std::uint32_t count = 0;
      if (m.extent(0) < 4) throw payload_error("is too short for its count");
      std::memcpy(&count, m.data(), 4);
      if (count > l.count)
        throw payload_error("claims " + std::to_string(count) + " entries of at most " + std::to_string(l.count));
      l.count = count;
    }
    if (m.extent(0) != size(q, l.count))
      throw payload_error("has " + std::to_string(m.extent(0)) + " bytes where " + std::to_string(l.count) +
                          " entries need " + std::to_string(size(q, l.count)));
    if constexpr (indexed) l.indices = as<index_t>(part(m, counted ? 4 : 0, 4 * l.count));
    l.codes = part(m, codes_at(l.count), q.code_bytes(l.count));
    return l;
  }
  /// Throws `payload_error` unless the indices ascend inside [0, n).
  void check_indices(std::size_t n) const {
    if constexpr (indexed)
      if (!kernel::valid_indices(indices.data(), count, n))
        throw payload_error("has indices that do not ascend inside the tensor");
  }
};

}  // namespace gradpress
