// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One line a policy names its knobs; from it come the text form, the digest that ranks compare, and the parser.

#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

namespace gradpress {

/// Which slot of a compressor a policy fills; lets `compress_with` take policies in any order.
namespace family {
struct projector {};
struct selector {};
struct quantizer {};
struct feedback {};
struct exchange {};
struct index_code {};
}  // namespace family

template <class P>
concept policy = requires {
  typename P::family;
};

/// A public number of a policy: `static constexpr auto knobs = std::tuple{knob{"density", &top_k::density}};`
template <class Member, class Policy>
struct knob {
  char const* name;
  Member Policy::*field;
};
template <class Member, class Policy>
knob(char const*, Member Policy::*) -> knob<Member, Policy>;

/// FNV-1a, 64 bit: names and configurations become digests with it, never messages.
class digest {
  std::uint64_t value_ = 14695981039346656037ull;

 public:
  constexpr digest& add(std::string_view s) noexcept {
    for (char c : s) byte(static_cast<unsigned char>(c));
    byte(0xff);  // so that "ab" + "c" differs from "a" + "bc"
    return *this;
  }
  constexpr digest& add(std::uint64_t v) noexcept {
    for (int i = 0; i < 64; i += 8) byte(static_cast<unsigned char>(v >> i));
    return *this;
  }
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

 private:
  constexpr void byte(unsigned char c) noexcept { value_ = (value_ ^ c) * 1099511628211ull; }
};

template <class P>
std::string describe(P const& p);

namespace detail {
/// Shortest text that reads back as the same number; enumerations by `names_of(value)`, an array of their names.
template <class T>
std::string knob_text(T const& v) {
  if constexpr (policy<T>) {
    return describe(v);
  } else if constexpr (std::is_same_v<T, bool>) {
    return v ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(names_of(v)[static_cast<std::size_t>(v)]);
  } else {
    char text[32];
    auto const end = std::to_chars(text, text + sizeof text, v).ptr;
    return {text, end};
  }
}
}  // namespace detail

/// "top_k(density=0.01)"; a policy inside a policy is written out too, so that no knob hides from the digest.
template <class P>
std::string describe(P const& p) {
  std::string text{P::name};
  if constexpr (requires { P::knobs; }) {
    char separator = '(';
    std::apply(
        [&](auto... k) {
          ((text += separator, text += k.name, text += '=', text += detail::knob_text(p.*k.field), separator = ','),
           ...);
        },
        P::knobs);
    text += separator == '(' ? "" : ")";
  }
  return text;
}

}  // namespace gradpress
