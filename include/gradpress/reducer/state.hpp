// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// State: checkpoints, memories as the user sees them.

#include <gradpress/core/checkpoint.hpp>
#include <gradpress/reducer.hpp>

#include <algorithm>
#include <limits>

namespace gradpress {

template <class Exec>
buffer<Exec> reducer<Exec>::residual(tensor t) {
  auto const& m = known(t);
  auto const all = m.of->live->residual(context(*m.of, 0));
  arena_->release();
  return all.extent(0) == 0 ? all : part_of(all, m);
}

template <class Exec>
void reducer<Exec>::load(std::istream& from) {
  std::vector<texts> before;
  for (auto const& u : units_) before.push_back(u->changed);
  try {
    number_ = checkpoint::read(from, header(), [this](auto const& saved) {
                take_knobs(saved);
                return fields();
              }).step;
  } catch (...) {
    for (std::size_t i = 0; i < units_.size(); ++i) move_knobs(*units_[i], before[i]);
    throw;
  }
  can_roll_back_ = false;
  for (auto& m : tensors_) label(*m);
  for (auto& u : units_)
    for (auto& f : u->schedules) f.applied = std::numeric_limits<double>::quiet_NaN();
}

template <class Exec>
std::string reducer<Exec>::knob(tensor t, std::string_view knob) const {
  try {
    return known(t).of->live->value(knob);
  } catch (configuration_error const& e) {
    throw configuration_error(at_tensor(name(t)) + e.what());
  }
}

template <class Exec>
void reducer<Exec>::visit(tensor t, typename coder<Exec>::visitor const& v) {
  auto const& m = known(t);
  m.of->live->visit(context(*m.of, 0), [&](char const* name, buffer<Exec> b) {
    if (b.extent(0) == m.of->dims.size()) v(name, part_of(b, m));
  });
  arena_->release();
}

template <class Exec>
checkpoint::header reducer<Exec>::header() const {
  return {static_cast<std::uint32_t>(comm_->rank()), static_cast<std::uint32_t>(comm_->size()), number_, options_.seed};
}

template <class Exec>
std::vector<checkpoint::knobs> reducer<Exec>::changed_knobs() const {
  std::vector<checkpoint::knobs> all;
  for (auto const& u : units_) {
    std::string text;
    for (auto const& [knob, value] : u->changed) text += (text.empty() ? "" : ",") + knob + '=' + value;
    if (text.empty()) continue;
    for (auto const* m : u->members) all.push_back({m->name, u->method, text});
  }
  return all;
}

/// Every unit's knobs as the checkpoint has them, or as they were.
template <class Exec>
void reducer<Exec>::take_knobs(std::vector<checkpoint::knobs> const& saved) {
  std::vector<texts> before, wanted;
  for (auto const& u : units_) {
    before.push_back(u->changed);
    wanted.push_back(knobs_for(*u, saved));
  }
  for (auto const& s : saved)
    if (std::none_of(by_name_.begin(), by_name_.end(), [&](auto const* m) { return m->name == s.tensor; }))
      throw state_error(at_tensor(s.tensor) + "is in the checkpoint and not in this reducer; add it before loading");
  for (std::size_t i = 0; i < units_.size(); ++i) {
    try {
      move_knobs(*units_[i], wanted[i]);
    } catch (configuration_error const& e) {
      for (std::size_t j = 0; j <= i; ++j) move_knobs(*units_[j], before[j]);
      throw state_error(at_tensor(units_[i]->name) + "the checkpoint has a knob that does not fit: " + e.what());
    }
  }
}

template <class Exec>
auto reducer<Exec>::knobs_for(unit const& u, std::vector<checkpoint::knobs> const& saved) const -> texts {
  std::string text;
  for (auto const* m : u.members) {
    auto const s = std::find_if(saved.begin(), saved.end(), [&](auto const& k) { return k.tensor == m->name; });
    if (s != saved.end() && s->method != u.method)
      throw state_error(at_tensor(m->name) + "was saved by " + s->method + " and is now " + u.method +
                        "; use the same method");
    auto const its = s == saved.end() ? std::string() : s->text;
    if (m != u.members[0] && its != text)
      throw state_error(at_tensor(m->name) + "was saved with other knobs than '" + u.members[0]->name +
                        "', with which it shares the group '" + u.name + "'; group it as it was");
    text = its;
  }
  texts all;
  for (std::string_view rest = text; !rest.empty();) {
    auto const item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    auto const equals = std::min(item.find('='), item.size() - 1);
    all[std::string(item.substr(0, equals))] = item.substr(equals + 1);
  }
  return all;
}

template <class Exec>
void reducer<Exec>::move_knobs(unit& u, texts const& wanted) {
  for (auto const& [knob, value] : texts(u.as_added))
    if (!wanted.contains(knob)) change(u, knob, value);
  for (auto const& [knob, value] : wanted) change(u, knob, value);
}

template <class Exec>
std::vector<checkpoint::field> reducer<Exec>::fields() const {
  std::vector<checkpoint::field> all;
  for (auto const& u : units_)
    u->live->visit(context(*u, 0), [&](char const* name, buffer<Exec> b) {
      bool const whole = u->joined.data() == nullptr || b.extent(0) != u->dims.size();
      if (whole) return all.push_back({u->name, u->method, name, {b.data(), b.extent(0)}});
      for (auto const* m : u->members)
        all.push_back({m->name, u->method, name, {b.data() + m->offset, m->dims.size()}});
    });
  arena_->release();
  return all;
}

}  // namespace gradpress
