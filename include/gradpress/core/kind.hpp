// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What an exchange may do with a message. A kind is two facts, computed from the policies and never declared:
/// how messages combine, and whether their size is known beforehand. Gathering is an exchange, not a kind.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/half.hpp>

#include <cstdint>
#include <string>
#include <type_traits>

namespace gradpress {

/// Types whose sums a transport may form.
enum class scalar : std::uint8_t { f32, f64, i8, i16, i32, bf16, f16 };

template <class T>
inline constexpr bool is_wire_scalar = false;
template <class T>
inline constexpr scalar scalar_of = scalar::f32;
#define GRADPRESS_SCALAR(T, S)                    \
  template <>                                     \
  inline constexpr bool is_wire_scalar<T> = true; \
  template <>                                     \
  inline constexpr scalar scalar_of<T> = scalar::S;
GRADPRESS_SCALAR(float, f32)
GRADPRESS_SCALAR(double, f64)
GRADPRESS_SCALAR(std::int8_t, i8)
GRADPRESS_SCALAR(std::int16_t, i16)
GRADPRESS_SCALAR(std::int32_t, i32)
GRADPRESS_SCALAR(bfloat16, bf16)
GRADPRESS_SCALAR(float16, f16)
#undef GRADPRESS_SCALAR

[[nodiscard]] constexpr std::size_t size_of(scalar s) noexcept {
  constexpr std::size_t sizes[] = {4, 8, 1, 2, 4, 2, 2};
  return sizes[static_cast<std::size_t>(s)];
}
[[nodiscard]] constexpr char const* name_of(scalar s) noexcept {
  constexpr char const* names[] = {"f32", "f64", "i8", "i16", "i32", "bf16", "f16"};
  return names[static_cast<std::size_t>(s)];
}
/// Sums of these lose bits that no memory owns; with a memory, an exchange that re-encodes the sum once is better.
[[nodiscard]] constexpr bool is_narrow(scalar s) noexcept { return s == scalar::bf16 || s == scalar::f16; }

enum class combination : std::uint8_t {
  sum,     ///< elementwise sum of scalars
  max,     ///< elementwise maximum of scalars
  merge,   ///< sorted sparse streams of floats: same index, values add
  nothing  ///< decode one by one
};

/// The kind of a message, as a value that can be a template argument.
struct message_kind {
  combination combines = combination::nothing;
  scalar element = scalar::f32;  ///< of a sum or maximum
  bool fixed_size = true;
  bool dense = false;   ///< every coefficient, in order: may be cut into chunks at the quantizer's grain
  bool agreed = false;  ///< the codes need numbers that were agreed on before
  bool linear =
      true;  ///< ranks' coefficients may be averaged; else each rank's are lifted, and then the mean is formed
  bool votes = false;  ///< codes are one bit a value, all of one magnitude (sign_bits)

  friend constexpr bool operator==(message_kind const&, message_kind const&) = default;
};

[[nodiscard]] std::string describe(message_kind const& k);

/// The agreement of a quantizer: floats whose elementwise maximum all ranks share.
inline constexpr message_kind agreement_kind{.combines = combination::max};
/// Of tensors that travel whole, as floats.
inline constexpr message_kind dense_kind{.combines = combination::sum, .dense = true};
/// Of the messages in which one rank tells the others a support: theirs are empty.
inline constexpr message_kind support_kind{.fixed_size = false};

template <class>
inline constexpr bool always_false = false;

#if GRADPRESS_BODIES
GRADPRESS_INLINE std::string describe(message_kind const& k) {
  std::string text;
  switch (k.combines) {
    case combination::sum:
      text = std::string("sum ") + name_of(k.element);
      break;
    case combination::max:
      text = std::string("max ") + name_of(k.element);
      break;
    case combination::merge:
      text = "merge";
      break;
    case combination::nothing:
      text = "decode";
      break;
  }
  return text + (k.fixed_size ? "" : " variable") + (k.dense ? " dense" : "");
}
#endif

}  // namespace gradpress
