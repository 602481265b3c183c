// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The step: agree, run every phase, vote, commit. Phases outermost, tensors innermost.

#include <gradpress/reducer.hpp>

#include <algorithm>
#include <cmath>

namespace gradpress {

template <class Exec>
void reducer<Exec>::average() {
  try {
    follow_schedules();
    if (counted_ != nullptr) begin_measuring();
    agree();
    weigh();
    begin();
    int const phases = most_phases();
    for (int phase = 0; phase < phases; ++phase) run_phase(phase);
    if (counted_ != nullptr) add_signals();
    vote();
  } catch (communicator_error const& e) {
    comm_->abandon(e.what());
    unstage();
    throw;
  } catch (...) {
    unstage();
    throw;
  }
  commit();
}

template <class Exec>
void reducer<Exec>::rollback() {
  if (!can_roll_back_)
    throw state_error(here() + "there is no step to roll back; call rollback at most once, right after average");
  for (auto const& u : units_)
    if (u->committed) u->live->undo();
  --number_;
  can_roll_back_ = false;
}

/// Before the first byte: same wire version, world, seed, step, tensors, shapes, methods, and the same staged set.
template <class Exec>
void reducer<Exec>::agree() {
  consensus_.clear();
  for (auto const* t : by_name_) consensus_.add(t->name, t->dims, t->method, t->staged);
  if (!declared_.empty()) consensus_.add("what uses this reducer", {}, declared_, true);
  for (auto& u : units_) collect(*u);
  guarded(0, "agreement", [&] { statistics_.control_bytes += consensus_.agree(*comm_, options_.seed, number_); });
}

template <class Exec>
void reducer<Exec>::begin() {
  for (auto& u : units_)
    if (u->staged) u->dense_now = u->live->begin(context(*u, 0));
}

/// Where the gradient of a unit lies: its tensor's, or its tensors' if they lie end to end, or a copy of them.
template <class Exec>
void reducer<Exec>::collect(unit& u) {
  auto const staged = [](auto const* m) { return m->staged; };
  u.staged = std::any_of(u.members.begin(), u.members.end(), staged);
  if (!u.staged) return;
  auto const missing = std::find_if_not(u.members.begin(), u.members.end(), staged);
  if (missing != u.members.end())
    return note(
        configuration_error("was not staged, but others of its group '" + u.name + "' were; a group travels whole"),
        (*missing)->name);
  float* const first = u.members[0]->gradient;
  bool const end_to_end = std::all_of(u.members.begin(), u.members.end(),
                                      [first](auto const* m) { return m->gradient == first + m->offset; });
  u.gradient = u.joined.data() == nullptr || end_to_end ? first : u.joined.data();
}

template <class Exec>
void reducer<Exec>::join(unit const& u) const {
  if (u.gradient != u.joined.data()) return;
  for (auto const* m : u.members) kernel::copy(exec_, m->gradient, m->dims.size(), u.gradient + m->offset);
}

template <class Exec>
void reducer<Exec>::split(unit const& u) const {
  if (u.gradient != u.joined.data()) return;
  for (auto const* m : u.members) kernel::copy(exec_, u.gradient + m->offset, m->dims.size(), m->gradient);
}

template <class Exec>
int reducer<Exec>::most_phases() const {
  int most = 0;
  for (auto const& u : units_)
    if (u->staged) most = std::max(most, u->live->phases());
  return most;
}

/// Somebody wants to know how long its codec takes.
template <class Exec>
bool reducer<Exec>::timed(unit const& u) {
  return u.watch != nullptr || u.choice != nullptr;
}

template <class Exec>
bool reducer<Exec>::in_phase(unit const& u, int phase) {
  return u.staged && phase < u.live->phases();
}

template <class Exec>
auto reducer<Exec>::lane_in(unit const& u, int phase) -> lane& {
  if (u.dense_now) return *u.dense;
  return *u.lanes[static_cast<std::size_t>(phase) % u.lanes.size()];
}

template <class Exec>
void reducer<Exec>::run_phase(int phase) {
  auto const start = clock::now();
  open_letters(phase);
  for (auto& u : units_)
    if (in_phase(*u, phase)) encode(*u, phase);
  statistics_.encode_seconds += since(start);

  auto const middle = clock::now();
  for (auto& named : lanes_) {
    auto& l = *named.second;
    auto& letter = l.at(phase);
    if (letter.sections.empty()) continue;
    transport& by = counted_ != nullptr ? *counted_ : *comm_;
    auto const begun = counted_ != nullptr ? clock::now() : middle;
    guarded(phase, named.first.c_str(), [&] { l.run(context(std::uint64_t{0}, phase), by, letter); });
    if (counted_ != nullptr) share(l, letter, phase, since(begun));
    arena_->release();
    statistics_.bytes_sent += letter.sent;
    statistics_.messages += letter.messages;
    if (letter.overflowed)
      note(non_finite_error(letter.complaint), "");
    else if (!letter.complaint.empty())
      note(payload_error(letter.complaint), "");
  }
  statistics_.exchange_seconds += since(middle);

  auto const end = clock::now();
  for (auto& u : units_)
    if (in_phase(*u, phase)) receive(*u, phase);
  statistics_.decode_seconds += since(end);
}

template <class Exec>
void reducer<Exec>::open_letters(int phase) {
  for (auto& [text, l] : lanes_) {
    std::size_t capacity = 0, sections = 0;
    for (auto const& u : units_)
      if (in_phase(*u, phase) && &lane_in(*u, phase) == l.get())
        capacity += u->live->capacity(phase, comm_->size()), ++sections;
    l->at(phase).open(capacity, sections);
    l->at(phase).way = l->way;
  }
}

template <class Exec>
void reducer<Exec>::encode(unit& u, int phase) {
  auto& letter = lane_in(u, phase).at(phase);
  auto const ctx = context(u, phase);
  auto const room = letter.room(u.live->capacity(phase, comm_->size()));
  auto const start = timed(u) ? clock::now() : clock::time_point{};
  if (u.choice != nullptr && phase == 0) u.choice->seconds = 0;
  std::size_t size = 0;
  if (!failure_ && phase == 0) join(u);
  if (!failure_) attempt(u, [&] { size = u.live->encode(ctx, in<Exec>(u.gradient, u.dims.size()), room); });
  if (u.choice != nullptr) u.choice->seconds += since(start);
  if (u.watch != nullptr && !failure_) measure_signal(u, ctx, part(room, 0, size), since(start));
  if (failure_) size = u.live->silence(ctx, room);
  arena_->release();
  u.section = letter.sections.size();
  if (u.choice != nullptr) u.choice->bytes = size;
  letter.add(u.live.get(), u.key, size);
}

template <class Exec>
void reducer<Exec>::receive(unit& u, int phase) {
  if (failure_) return;
  auto const ctx = context(u, phase);
  auto const arrived = arrival_of(u, phase);
  auto const start = timed(u) ? clock::now() : clock::time_point{};
  attempt(u, [&] {
    u.live->check(ctx, arrived);
    arena_->release();
    if (phase + 1 < u.live->phases()) u.live->accept(ctx, arrived);
  });
  if (u.watch != nullptr) u.watch->now.decode_seconds += since(start);
  if (u.choice != nullptr) u.choice->seconds += since(start);
  arena_->release();
}

template <class Exec>
arrival<Exec> reducer<Exec>::arrival_of(unit const& u, int phase) const {
  auto const& letter = lane_in(u, phase).at(phase);
  return letter.arrival_of(letter.sections[u.section]);
}

/// After the last message: either every rank commits or none does.
template <class Exec>
void reducer<Exec>::vote() {
  guarded(most_phases(), "vote", [&] { statistics_.control_bytes += consensus_.vote(*comm_, failure_, number_); });
}

template <class Exec>
void reducer<Exec>::commit() {
  auto const start = clock::now();
  for (auto& u : units_) {
    u->committed = u->staged;
    if (!u->staged) continue;
    auto const last = u->live->phases() - 1;
    auto const begun = timed(*u) ? clock::now() : start;
    u->live->commit(context(*u, last), view<Exec>(u->gradient, u->dims.size()), arrival_of(*u, last));
    split(*u);
    arena_->release();
    if (u->choice != nullptr) count_codec(*u->choice, since(begun));
    if (u->dense_now) ++statistics_.sent_dense;
    statistics_.redrawn += u->live->redrawn();
    if (u->watch != nullptr) measure_update(*u, since(begun));
    statistics_.dense_bytes += 4 * u->dims.size();
  }
  unstage_all();
  fence(exec_);
  ++number_;
  ++statistics_.steps;
  can_roll_back_ = true;
  statistics_.decode_seconds += since(start);
  if (counted_ != nullptr) tell();
}

/// Of a group, the tensor that is to blame, where one can be told.
template <class Exec>
std::string const& reducer<Exec>::culprit(unit const& u) {
  for (auto const* m : u.members)
    for (std::size_t i = 0; u.members.size() > 1 && i < m->dims.size(); ++i)
      if (!std::isfinite(m->gradient[i])) return m->name;
  return u.name;
}

template <class Exec>
void reducer<Exec>::note(std::exception const& e, std::string const& who) {
  failure_.note(e, who);
}

template <class Exec>
std::string reducer<Exec>::where(int phase, char const* what) const {
  return here() + "the communicator failed in step " + std::to_string(number_) + ", phase " + std::to_string(phase) +
         " (" + what + "): ";
}

template <class Exec>
void reducer<Exec>::unstage_all() noexcept {
  for (auto* t : by_name_) t->staged = false;
  for (auto& u : units_) u->staged = false;
}

template <class Exec>
void reducer<Exec>::unstage() noexcept {
  unstage_all();
  failure_ = {};
  can_roll_back_ = false;
}

}  // namespace gradpress
