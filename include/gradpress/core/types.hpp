// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Words that all stages share: index, shape, owned and borrowed memory.

#include <gradpress/core/kokkos_compat.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace gradpress {

/// Position of an element inside one tensor. Indices are never 64 bits on the wire.
using index_t = std::uint32_t;

/// Owned memory of an execution space, which also writes its first zeros: the default space of that memory may be one
/// that a rank's thread cannot use.
template <class Exec, class T = float>
using buffer = Kokkos::View<T*, Kokkos::Device<Exec, typename Exec::memory_space>>;
/// Borrowed memory: what every policy sees. Owned memory converts to it by itself.
template <class Exec, class T = float>
using view = Kokkos::View<T*, typename Exec::memory_space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
template <class Exec, class T = float>
using in = view<Exec, T const>;
template <class Exec>
using bytes = view<Exec, std::byte>;
template <class Exec>
using in_bytes = view<Exec, std::byte const>;

/// Matrix view of a tensor; a vector is rows x 1.
struct shape {
  std::size_t rows = 0, cols = 1;
  [[nodiscard]] constexpr std::size_t size() const noexcept { return rows * cols; }
  friend constexpr bool operator==(shape, shape) = default;
};

/// A tensor of any number of dimensions as a matrix: the first extent by the product of the others, so that a convolution
/// of O x I x k x k is O x (I k k). Without extents one element. A product beyond 2^32 counts as 2^32, which no tensor may
/// have.
[[nodiscard]] constexpr shape matrix_of(std::span<std::size_t const> extents) noexcept {
  constexpr auto most = std::size_t{0xffffffff};
  shape d{1, 1};
  for (std::size_t i = 0; i < extents.size(); ++i)
    if (i == 0)
      d.rows = extents[0];
    else
      d.cols = extents[i] != 0 && d.cols > most / extents[i] ? most + 1 : d.cols * extents[i];
  return d;
}

/// Which entries are kept: `count` of them, ascending and distinct, known on the host.
template <class Exec>
struct selection {
  buffer<Exec, index_t> indices;
  std::size_t count = 0;
};

/// Sections of a message start at multiples of 4 bytes.
[[nodiscard]] constexpr std::size_t padded(std::size_t n) noexcept { return (n + 3) / 4 * 4; }
/// Zeros for n bytes; of an empty message, which may lie nowhere, nothing.
inline void clear(std::byte* at, std::size_t n) noexcept {
  if (n > 0) std::memset(at, 0, n);
}

/// The same memory seen as T.
template <class T, class V>
[[nodiscard]] auto as(V const& v) {
  using element = std::conditional_t<std::is_const_v<typename V::value_type>, T const, T>;
  return Kokkos::View<element*, typename V::memory_space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(
      reinterpret_cast<element*>(v.data()), v.extent(0) * sizeof(typename V::value_type) / sizeof(T));
}
/// Elements [from, from + n) of v.
template <class V>
[[nodiscard]] auto part(V const& v, std::size_t from, std::size_t n) {
  return Kokkos::View<typename V::value_type*, typename V::memory_space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(
      v.data() + from, n);
}

}  // namespace gradpress
