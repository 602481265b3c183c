// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Knobs that change while training runs: by the user, by schedules, and the learning rate.

#include <gradpress/reducer.hpp>

#include <algorithm>
#include <cmath>

namespace gradpress {

template <class Exec>
void reducer<Exec>::learning_rate(double rate) {
  learning_rate_ = checked_rate(rate);
  for (auto& u : units_) tell_rate(*u, learning_rate_);
}

template <class Exec>
void reducer<Exec>::learning_rate(tensor t, double rate) {
  tell_rate(*known(t).of, checked_rate(rate));
}

template <class Exec>
void reducer<Exec>::tell_rate(unit& u, float rate) {
  if (u.live->learning_rate(rate))
    for (auto* m : u.members) label(*m);
}

template <class Exec>
float reducer<Exec>::checked_rate(double rate) const {
  auto const as_stored = static_cast<float>(rate);
  if (!(as_stored > 0) || !std::isfinite(as_stored))
    throw configuration_error(here() + "the learning rate is " + detail::knob_text(rate) +
                              "; memories in units of the model need a positive number: leave out steps without one");
  return as_stored;
}

template <class Exec>
knob_change reducer<Exec>::change(unit& u, std::string_view knob, std::string_view value) {
  auto const c = u.live->set(context(u, 0), knob, value);
  arena_->release();
  if (c.before == c.after) return c;
  u.as_added.try_emplace(c.name, c.before);
  u.changed[c.name] = c.after;
  if (u.as_added[c.name] == c.after) u.as_added.erase(c.name), u.changed.erase(c.name);
  if (u.choice != nullptr) {
    *u.choice = {};
    u.dense_now = false;
    u.live->travel_dense(false);
  }
  for (auto* m : u.members) label(*m);
  u.lanes.back() = u.find_payload(*this, *u.live);
  std::erase_if(lanes_, [&](auto const& l) {
    return std::none_of(units_.begin(), units_.end(), [&](auto const& other) {
      return other->dense == l.second.get() ||
             std::find(other->lanes.begin(), other->lanes.end(), l.second.get()) != other->lanes.end();
    });
  });
  return c;
}

template <class Exec>
knob_change reducer<Exec>::change_by_user(tensor t, std::string_view knob, std::string_view value) {
  auto const& m = known(t);
  try {
    auto c = change(*m.of, knob, value);
    std::erase_if(m.of->schedules, [&](auto const& f) { return f.knob == c.name; });
    return c;
  } catch (configuration_error const& e) {
    throw configuration_error(at_tensor(m.name) + e.what());
  }
}

template <class Exec>
void reducer<Exec>::follow_schedules() {
  for (auto& u : units_)
    for (auto& f : u->schedules) {
      try {
        auto const value = f.value(number_);
        if (value == f.applied) continue;
        change(*u, f.knob, number_text(value));
        f.applied = value;
      } catch (std::exception const& e) {
        note(e, u->name);
      }
    }
}

}  // namespace gradpress
