// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Knobs of an optimizer at work.

#include <gradpress/core/knobs.hpp>
#include <gradpress/optimizer/driver.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace gradpress {

template <class Exec, class Method, class... C>
std::vector<detail::live_knob> driver<Exec, Method, C...>::knobs_of(Method& m) {
  std::vector<detail::live_knob> knobs;
  detail::append_knobs(m, knobs);
  return knobs;
}

template <class Exec, class Method, class... C>
std::string driver<Exec, Method, C...>::change(std::string_view knob, std::string_view value) {
  if (in_step()) throw misuse("a knob was set inside a step; take its gradients first");
  auto changed = method_;
  knob_change c;
  try {
    c = change_knob(knobs_of(changed), knob, value);
    check(changed);
  } catch (configuration_error const& e) {
    throw misuse(e.what());
  }
  if (c.before != c.after) {
    method_ = changed;
    declare();
    if (!c.name.ends_with(".learning_rate")) at_point_ = false;  // where it lies may hang on any other
  }
  return c.name;
}

template <class Exec, class Method, class... C>
auto driver<Exec, Method, C...>::changed_knobs() -> texts {
  auto made = as_made_;
  auto const before = knobs_of(made), after = knobs_of(method_);
  texts all;
  for (std::size_t i = 0; i < after.size(); ++i)
    if (auto const text = after[i].text(after[i].field); text != before[i].text(before[i].field))
      all[after[i].name] = text;
  return all;
}

template <class Exec, class Method, class... C>
void driver<Exec, Method, C...>::take_knobs(std::string_view rest, Method& to) const {
  try {
    while (!rest.empty()) {
      auto const item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
      auto const equals = std::min(item.find('='), item.size() - 1);
      change_knob(knobs_of(to), item.substr(0, equals), item.substr(equals + 1));
    }
    check(to);
  } catch (configuration_error const& e) {
    throw state_error(here() + "the checkpoint has a knob that does not fit: " + e.what());
  }
}

}  // namespace gradpress
