// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One line a policy names its knobs; from it come the text form, the digest that ranks compare, and the parser.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/error.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

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

/// When the text form shows a knob.
enum class shown { always, if_changed };

/// A public number of a policy: `static constexpr auto knobs = std::tuple{knob{"density", &top_k::density}};`
/// A knob that a policy gained later is `shown::if_changed`: texts, and with them checkpoints, stay what they were.
template <class Member, class Policy>
struct knob {
  char const* name;
  Member Policy::*field;
  shown when = shown::always;
};
template <class Member, class Policy>
knob(char const*, Member Policy::*, shown = shown::always) -> knob<Member, Policy>;

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

namespace detail {
/// The number, or name, that a text holds; false, and v as it was, if it holds none of this type.
template <class T>
bool read_knob(std::string_view text, T& v) {
  if constexpr (policy<T>) {
    return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (text != "true" && text != "false") return false;
    return v = text == "true", true;
  } else if constexpr (std::is_enum_v<T>) {
    auto const names = names_of(T{});
    for (std::size_t i = 0; i < names.size(); ++i)
      if (names[i] == text) return v = static_cast<T>(i), true;
    return false;
  } else {
    T read{};
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
    if (error != std::errc{} || end != text.data() + text.size()) return false;
    v = read;
    return true;
  }
}
template <class T>
std::string legal_text() {
  if constexpr (policy<T>) {
    return "is a policy and cannot be changed";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "takes true or false";
  } else if constexpr (std::is_enum_v<T>) {
    std::string all;
    for (auto const name : names_of(T{})) all += (all.empty() ? "takes " : ", ") + std::string(name);
    return all;
  } else {
    return std::is_integral_v<T> ? "takes a whole number" : "takes a number";
  }
}

/// A knob of a live policy, its type forgotten.
struct live_knob {
  std::string_view policy;
  char const* name;
  void* field;
  bool (*read)(std::string_view, void*);
  std::string (*text)(void const*);
  std::string (*legal)();
  shown when;

  [[nodiscard]] std::string qualified() const;
};
template <class T>
live_knob live(std::string_view policy, char const* name, T& field, shown when) {
  return {policy,
          name,
          &field,
          [](std::string_view text, void* v) { return read_knob(text, *static_cast<T*>(v)); },
          [](void const* v) { return knob_text(*static_cast<T const*>(v)); },
          [] { return legal_text<T>(); },
          when};
}
template <class P>
void append_knobs(P& p, std::vector<live_knob>& to);
/// Of a policy around another of its family, the inner one's knobs.
template <class P, class T>
void append_knob(char const* name, T& field, shown when, std::vector<live_knob>& to) {
  if constexpr (requires { requires std::is_same_v<typename P::family, typename T::family>; })
    append_knobs(field, to);
  else
    to.push_back(live(P::name, name, field, when));
}
template <class P>
void append_knobs(P& p, std::vector<live_knob>& to) {
  if constexpr (requires { P::knobs; })
    std::apply([&](auto... k) { (append_knob<P>(k.name, p.*k.field, k.when, to), ...); }, P::knobs);
}
/// All of a policy's own knobs, a policy inside it as one of them.
template <class P>
std::vector<live_knob> own_knobs(P& p) {
  std::vector<live_knob> all;
  if constexpr (requires { P::knobs; })
    std::apply([&](auto... k) { (all.push_back(live(P::name, k.name, p.*k.field, k.when)), ...); }, P::knobs);
  return all;
}
/// "a|b|c", without those that are empty.
std::string joined(std::initializer_list<std::string> parts);
std::string described(std::string_view policy, std::vector<live_knob> const& now, std::vector<live_knob> const& usual);
}  // namespace detail

/// A knob before and after a change, as text that reads back as the same value.
struct knob_change {
  std::string name;  ///< "top_k.density"
  std::string before, after;
};

/// The knob called `name`, or "policy.name" where several policies have one of that name. Throws `configuration_error`
/// that says what there is.
detail::live_knob find_knob(std::span<detail::live_knob const> knobs, std::string_view name);

/// Writes `value` into the knob that `find_knob` finds. Throws `configuration_error` that says what is legal, and has
/// then changed nothing.
knob_change change_knob(std::span<detail::live_knob const> knobs, std::string_view name, std::string_view value);

/// The text of a knob's value: shortest that reads back as the same, whole numbers without an exponent, so that it reads
/// back as an integer too.
std::string number_text(double v);

/// "top_k(density=0.01)"; a policy inside a policy is written out too, so that no knob hides from the digest.
template <class P>
std::string describe(P const& p) {
  auto now = p;
  P usual{};
  return detail::described(P::name, detail::own_knobs(now), detail::own_knobs(usual));
}

#if GRADPRESS_BODIES
GRADPRESS_INLINE std::string detail::live_knob::qualified() const { return std::string(policy) + '.' + name; }

GRADPRESS_INLINE std::string detail::joined(std::initializer_list<std::string> parts) {
  std::string all;
  for (auto const& p : parts)
    if (!p.empty()) all += (all.empty() ? "" : "|") + p;
  return all;
}

GRADPRESS_INLINE std::string detail::described(std::string_view policy, std::vector<live_knob> const& now,
                                               std::vector<live_knob> const& usual) {
  std::string text{policy};
  char separator = '(';
  for (std::size_t i = 0; i < now.size(); ++i) {
    auto const value = now[i].text(now[i].field);
    if (now[i].when == shown::if_changed && value == usual[i].text(usual[i].field)) continue;
    text += separator, text += now[i].name, text += '=', text += value, separator = ',';
  }
  return text + (separator == '(' ? "" : ")");
}

GRADPRESS_INLINE detail::live_knob find_knob(std::span<detail::live_knob const> knobs, std::string_view name) {
  detail::live_knob const* found = nullptr;
  std::string fitting, known;
  for (auto const& k : knobs) {
    auto const full = k.qualified();
    known += (known.empty() ? "" : ", ") + full;
    if (name != k.name && name != full) continue;
    if (found != nullptr) fitting += (fitting.empty() ? found->qualified() : "") + ", " + full;
    found = &k;
  }
  auto const quoted = '\'' + std::string(name) + '\'';
  if (found == nullptr)
    throw configuration_error("there is no knob " + quoted +
                              "; the knobs of its method are: " + (known.empty() ? "none" : known));
  if (!fitting.empty())
    throw configuration_error("several policies have a knob " + quoted + "; write one of: " + fitting);
  return *found;
}

GRADPRESS_INLINE knob_change change_knob(std::span<detail::live_knob const> knobs, std::string_view name,
                                         std::string_view value) {
  auto const found = find_knob(knobs, name);
  knob_change change{found.qualified(), found.text(found.field), {}};
  if (!found.read(value, found.field))
    throw configuration_error('\'' + std::string(value) + "' is no value of " + change.name + ", which " +
                              found.legal());
  change.after = found.text(found.field);
  return change;
}

GRADPRESS_INLINE std::string number_text(double v) {
  if (std::abs(v) < 9e15 && v == std::floor(v)) return detail::knob_text(static_cast<long long>(v));
  return detail::knob_text(v);
}
#endif

}  // namespace gradpress
