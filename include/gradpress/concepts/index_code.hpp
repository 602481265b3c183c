// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What an IndexCode must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/types.hpp>

#include <concepts>

namespace gradpress {

namespace concepts {
template <class I>
concept has_index_bytes = requires(I const i) {
  { i.index_bytes(std::size_t{}, std::size_t{}) } -> std::same_as<std::size_t>;
};
template <class I>
concept has_write_indices = requires(I const i, index_t const* at, std::byte* out) {
  { i.write(at, std::size_t{}, std::size_t{}, out) } -> std::same_as<void>;
};
template <class I>
concept has_read_indices = requires(I const i, std::byte const* in, index_t* at) {
  { i.read(in, std::size_t{}, std::size_t{}, at) } -> std::same_as<bool>;
};
}  // namespace concepts

/// True where the bytes are the indices themselves, so that exchanges may merge messages where they lie.
template <class I>
inline constexpr bool leaves_indices_raw = requires {
  requires I::raw;
};

/// An IndexCode decides how the positions of a sparse message are written.
///
/// With `i` a const value and k ascending distinct positions below n:
///
/// | expression               | result      | means                                                                    |
/// |--------------------------|-------------|--------------------------------------------------------------------------|
/// | `typename I::family`, `I::name` |      | `family::index_code`; in the text form and the digest                    |
/// | `i.index_bytes(n, k)`    | size_t      | exact size, a multiple of 4; depends on n and k alone                    |
/// | `i.write(at, k, n, out)` | void        | writes all index_bytes(n, k) bytes; `out` is a multiple of 4 from the start of a message, and may be aligned to that alone |
/// | `i.read(in, k, n, at)`   | bool        | false unless the bytes are the code of k ascending positions below n; trusts nothing, and writes k positions at most |
/// | `I::raw`                 | bool        | optional: the bytes are the positions as 32-bit numbers                  |
///
/// Laws: test/concepts/index_code_laws.hpp.
template <class I>
concept index_code = std::semiregular<I> && concepts::has_name<I> && concepts::has_index_bytes<I> &&
    concepts::has_write_indices<I> && concepts::has_read_indices<I>;

/// Fails to compile with one plain sentence about the first thing that I lacks.
template <class I>
consteval bool explain_index_code() {
  if constexpr (!std::semiregular<I>)
    static_assert(always_false<I>, "IndexCode: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<I>)
    static_assert(always_false<I>, "IndexCode: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_index_bytes<I>)
    static_assert(always_false<I>, "IndexCode: needs 'std::size_t index_bytes(std::size_t n, std::size_t k) const'.");
  else if constexpr (!concepts::has_write_indices<I>)
    static_assert(always_false<I>, "IndexCode: needs 'void write(index_t const* at, k, n, std::byte* out) const'.");
  else if constexpr (!concepts::has_read_indices<I>)
    static_assert(always_false<I>, "IndexCode: needs 'bool read(std::byte const* in, k, n, index_t* at) const'.");
  return index_code<I>;
}

}  // namespace gradpress
