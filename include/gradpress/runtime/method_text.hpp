// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The text form of a method: "top_k(0.01) | stochastic_int(bits=4) | error_feedback".
///
///     text   = policy { "|" policy }          policy = name [ "(" value { "," value } ")" ]
///     value  = [ knob "=" ] ( number | word )
///
/// Values without a knob's name fill the knobs in their order. White space does not matter.

#include <gradpress/core/error.hpp>
#include <gradpress/core/knobs.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace gradpress {

/// One policy of a text, as written.
struct policy_text {
  struct value {
    std::string knob, text;  ///< knob is empty for a value by position
  };
  std::string name;
  std::vector<value> values;
};

namespace detail {
inline std::string_view trim(std::string_view s) {
  auto const space = std::string_view(" \t\r\n");
  auto const from = s.find_first_not_of(space);
  if (from == std::string_view::npos) return {};
  return s.substr(from, s.find_last_not_of(space) - from + 1);
}
[[noreturn]] inline void malformed(std::string_view text, std::string const& why) {
  throw configuration_error("gradpress: the method \"" + std::string(text) + "\": " + why +
                            "; write for example \"top_k(0.01) | error_feedback\"");
}
/// `part` of `whole`, which errors quote.
inline policy_text parse_policy(std::string_view whole, std::string_view part) {
  if (part.empty()) malformed(whole, "there is nothing between two '|', or before or after one");
  policy_text p;
  auto const open = part.find('(');
  p.name = trim(part.substr(0, open));
  if (p.name.empty() || p.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") != std::string::npos)
    malformed(whole, "'" + std::string(part) + "' does not begin with a policy's name");
  if (open == std::string_view::npos) return p;
  if (part.back() != ')' || part.find('(', open + 1) != std::string_view::npos || part.find(')') != part.size() - 1)
    malformed(whole, "the parentheses of '" + p.name + "' do not match");
  auto rest = part.substr(open + 1, part.size() - open - 2);
  while (true) {
    auto const comma = rest.find(',');
    auto const item = trim(rest.substr(0, comma));
    if (item.empty()) malformed(whole, "a value of '" + p.name + "' is empty");
    auto const equals = item.find('=');
    if (equals == std::string_view::npos)
      p.values.push_back({{}, std::string(item)});
    else
      p.values.push_back({std::string(trim(item.substr(0, equals))), std::string(trim(item.substr(equals + 1)))});
    if (comma == std::string_view::npos) return p;
    rest = rest.substr(comma + 1);
  }
}
}  // namespace detail

/// Splits a text into policies. Throws `configuration_error` that quotes the text and says what is wrong.
inline std::vector<policy_text> parse_method(std::string_view text) {
  std::vector<policy_text> all;
  std::string_view rest = text;
  while (true) {
    auto const bar = rest.find('|');
    all.push_back(detail::parse_policy(text, detail::trim(rest.substr(0, bar))));
    for (std::size_t i = 0; i + 1 < all.size(); ++i)
      if (all[i].name == all.back().name) detail::malformed(text, "'" + all.back().name + "' stands there twice");
    if (bar == std::string_view::npos) return all;
    rest = rest.substr(bar + 1);
  }
}

/// Writes the values of `from` into the knobs of p. Throws `configuration_error` naming policy, knob and what it
/// accepts.
template <class P>
void set_knobs(P& p, policy_text const& from) {
  std::string known;
  if constexpr (requires { P::knobs; })
    std::apply([&](auto... k) { ((known += (known.empty() ? "" : ", "), known += k.name), ...); }, P::knobs);
  auto const refuse = [&](std::string const& why) {
    throw configuration_error("gradpress: " + from.name + ": " + why +
                              "; its knobs are: " + (known.empty() ? "none" : known));
  };
  for (std::size_t i = 0; i < from.values.size(); ++i) {
    auto const& v = from.values[i];
    bool found = false, read = false;
    if constexpr (requires { P::knobs; }) {
      std::size_t position = 0;
      auto const try_one = [&](auto k) {
        if (v.knob.empty() ? position == i : v.knob == k.name) {
          found = true;
          read = detail::read_knob(v.text, p.*k.field);
        }
        ++position;
      };
      std::apply([&](auto... k) { (try_one(k), ...); }, P::knobs);
    }
    if (!found)
      refuse(v.knob.empty() ? "there is no knob for value number " + std::to_string(i + 1)
                            : "there is no knob '" + v.knob + "'");
    if (!read)
      refuse("'" + v.text + "' is not a value for " +
             (v.knob.empty() ? "knob number " + std::to_string(i + 1) : "'" + v.knob + "'"));
  }
}

/// A policy with the knobs of a text. Throws as `set_knobs` does, and if a knob is out of range.
template <class P>
P read_policy(policy_text const& from) {
  P p;
  set_knobs(p, from);
  if constexpr (requires { p.check(); }) {
    try {
      p.check();
    } catch (configuration_error const& e) {
      throw configuration_error(std::string("gradpress: ") + e.what());
    }
  }
  return p;
}

}  // namespace gradpress
