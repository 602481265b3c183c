// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a Quantizer must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>

namespace gradpress {

namespace concepts {
template <class Q>
concept has_adds_as = requires {
  typename Q::adds_as;
};
template <class Q>
concept has_code_bytes = requires(Q const q) {
  { q.code_bytes(std::size_t{}) } -> std::same_as<std::size_t>;
};
template <class Q>
concept has_codec = requires(Q const q, step<probe> const& ctx, in<probe> x, view<probe> y, bytes<probe> codes,
                             in_bytes<probe> c) {
  { q.encode(ctx, x, codes) } -> void_or_bool;
  q.decode(ctx, c, y);
};
template <class Q>
concept has_agreed_codec = requires(Q const q, step<probe> const& ctx, in<probe> x, view<probe> y, bytes<probe> codes,
                                    in_bytes<probe> c) {
  { q.propose(ctx, x, y) } -> void_or_bool;
  q.encode(ctx, x, x, codes);
  q.decode(ctx, c, x, y);
};
}  // namespace concepts

/// A quantizer that needs numbers which all ranks share before it can encode (TernGrad's scale).
template <class Q>
concept agreeing = requires(Q const q) {
  { q.agreement_size(std::size_t{}) } -> std::same_as<std::size_t>;
};

/// A quantizer whose codes are f32 1, or 0 for no vote, and then one bit a value, 1 for a negative one, in u32 words.
template <class Q>
inline constexpr bool casts_votes = requires {
  requires Q::casts_votes;
};

/// A Quantizer turns kept values into codes.
///
/// With `q` a const value, `x` a view of m values, `codes` code_bytes(m) bytes at a multiple of 4:
///
/// | expression                  | result       | means                                                              |
/// |-----------------------------|--------------|--------------------------------------------------------------------|
/// | `typename Q::family`        | type         | `family::quantizer`                                                |
/// | `Q::name`                   | string view  | in the text form and the digest                                    |
/// | `typename Q::adds_as`       | type         | T: codes are m values of T and their sum decodes to the sum; void: decode one by one |
/// | `q.code_bytes(m)`           | size_t       | exact                                                              |
/// | `q.encode(ctx, x, codes)`   | void or bool | bool: false says that x holds NaN or infinity                      |
/// | `q.decode(ctx, codes, x)`   | void         | codes, or the sum of codes, to values; all-zero codes are zeros    |
///
/// A quantizer that must agree first has these three in place of the last two:
///
/// | expression                          | result       | means                                                      |
/// |-------------------------------------|--------------|------------------------------------------------------------|
/// | `q.agreement_size(m)`               | size_t       | floats to agree on                                         |
/// | `q.propose(ctx, x, mine)`           | void or bool | this rank's proposal, >= 0; the elementwise maximum is agreed |
/// | `q.encode(ctx, x, agreed, codes)`, `q.decode(ctx, codes, agreed, x)` | void |                                   |
///
/// Optional, each with a generic twin that gives the same bits:
///
/// | expression                               | means                                                                  |
/// |------------------------------------------|------------------------------------------------------------------------|
/// | `q.grain()`                              | codes of a vector cut at multiples of this are codes of the pieces; 1 if absent |
/// | `q.encode_sum(ctx, g, e, rest, codes)`   | one pass: codes of g + e, or of g if e is empty, and rest, which may be g or e, = that less decoded; false: not finite |
/// | `q.propose_sum(ctx, g, e, mine)`, `q.encode_sum(ctx, g, e, agreed, rest, codes)` | bool, void: the same of one that agrees, both or neither |
/// | `q.accumulate(ctx, codes, factor, x)`    | x += factor * decoded, factor +1 or -1                                  |
/// | `q.decode_mean(ctx, codes, world, x)`    | decoded / world in one pass                                             |
/// | `q.finite(ctx, codes, m)`                | do these codes, or their sum, decode to finite numbers?                 |
/// | `Q::casts_votes`                         | its codes are f32 1, or 0 for none, and then one sign bit a value       |
/// | `q.largest_world()`                      | most ranks whose codes add without wrapping                             |
template <class Q>
concept quantizer = std::semiregular<Q> && concepts::has_name<Q> && concepts::has_adds_as<Q> &&
    concepts::has_code_bytes<Q> &&
    ((agreeing<Q> && concepts::has_agreed_codec<Q>) || (!agreeing<Q> && concepts::has_codec<Q>));

/// Fails to compile with one plain sentence about the first thing that Q lacks.
template <class Q>
consteval bool explain_quantizer() {
  if constexpr (!std::semiregular<Q>)
    static_assert(always_false<Q>, "Quantizer: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<Q>)
    static_assert(always_false<Q>, "Quantizer: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_adds_as<Q>)
    static_assert(always_false<Q>,
                  "Quantizer: needs 'using adds_as' (the type whose sum decodes to the sum, or void).");
  else if constexpr (!concepts::has_code_bytes<Q>)
    static_assert(always_false<Q>, "Quantizer: needs 'std::size_t code_bytes(std::size_t m) const'.");
  else if constexpr (agreeing<Q> && !concepts::has_agreed_codec<Q>)
    static_assert(always_false<Q>,
                  "Quantizer: with 'agreement_size' it needs 'propose', 'encode(ctx, x, agreed, codes)' and "
                  "'decode(ctx, codes, agreed, x)'.");
  else if constexpr (!agreeing<Q> && !concepts::has_codec<Q>)
    static_assert(
        always_false<Q>,
        "Quantizer: needs 'encode(ctx, x, codes) const' and 'decode(ctx, codes, x) const' for any execution space.");
  return quantizer<Q>;
}

}  // namespace gradpress
