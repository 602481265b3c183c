// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Tensors: their names, what ranks compare of them, and the gradients that are handed in.

#include <gradpress/reducer.hpp>

#include <algorithm>

namespace gradpress {

namespace detail {
inline std::string text_of(link_cost const& c) { return knob_text(c.alpha) + " s + " + knob_text(c.beta) + " s/byte"; }
}  // namespace detail

template <class Exec>
reducer<Exec>::reducer(adapted, std::unique_ptr<transport> comm, Exec exec, reducer_options options)
    : exec_(exec), comm_(std::move(comm)), options_(options) {
  if (!usable_here<Exec>())
    throw configuration_error(here() + "this Kokkos serves " + Exec::name() +
                              " to the thread that initialised it, and this is another; call Kokkos::initialize() " +
                              "first, and give ranks that are threads gradpress::serial.");
}

template <class Exec>
reducer<Exec>::reducer(reducer&&) noexcept = default;
template <class Exec>
reducer<Exec>& reducer<Exec>::operator=(reducer&&) noexcept = default;
template <class Exec>
reducer<Exec>::~reducer() = default;

template <class Exec>
std::string reducer<Exec>::here() const {
  return "gradpress: rank " + std::to_string(rank()) + ": ";
}
template <class Exec>
std::string reducer<Exec>::named(std::string const& name) const {
  return here() + "tensor '" + name + "'";
}
template <class Exec>
std::string reducer<Exec>::at_tensor(std::string const& name) const {
  return named(name) + ": ";
}

// ---- new ones ----------------------------------------------------------------------------------------------------

template <class Exec>
void reducer<Exec>::check_name(std::string const& name, std::size_t rows, std::size_t cols) const {
  auto const same = [&](auto const& other) { return other->name == name; };
  if (std::any_of(tensors_.begin(), tensors_.end(), same) || std::any_of(units_.begin(), units_.end(), same))
    throw configuration_error(named(name) + " was added before; names key the state and must be unique");
  if (cols != 0 && rows > 0xffffffffu / cols)
    throw configuration_error(named(name) + " has 2^32 elements or more; split it");
}
template <class Exec>
void reducer<Exec>::check_world(int largest) const {
  if (size() > largest)
    throw configuration_error("sums codes that wrap beyond " + std::to_string(largest) +
                              " ranks; use a wider counter type");
}
template <class Exec>
void reducer<Exec>::check_unique(std::vector<part_of_group> const& parts, std::string const& where) const {
  for (std::size_t i = 0; i < parts.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (parts[i].name == parts[j].name)
        throw configuration_error(here() + where + " has the name '" + parts[i].name + "' twice; names key the state");
}
/// Returns its elements.
template <class Exec>
std::size_t reducer<Exec>::check_group(std::string const& group, std::vector<part_of_group> const& parts) const {
  check_unique(parts, "group '" + group + "'");
  std::size_t n = 0;
  for (auto const& p : parts) {
    n += p.rows * p.cols;
    if (p.name == group)
      throw configuration_error(here() + "group '" + group +
                                "' and a tensor of it have the same name; names key the state");
  }
  return n;
}

template <class Exec>
std::uint64_t reducer<Exec>::key_of(std::string const& name) {
  return digest{}.add(name).value();
}
/// The unit takes its place among the others, by name.
template <class Exec>
auto reducer<Exec>::keep_unit(std::string const& name, shape dims, std::unique_ptr<coder<Exec>> live,
                              method_facts const& facts, payload_lane payload) -> unit* {
  arena_->release();
  auto u = std::make_unique<unit>();
  u->name = name;
  u->dims = dims;
  u->key = key_of(name);
  u->method = live->text();
  u->live = std::move(live);
  u->live->learning_rate(learning_rate_);
  if (facts.leads) u->lanes.push_back(lane_for(all_gather{}, support_kind));
  if (facts.agrees) u->lanes.push_back(lane_for(all_reduce{}, agreement_kind));
  u->find_payload = payload;
  u->lanes.push_back(payload(*this, *u->live));
  if (facts.weighs) u->choice = std::make_unique<weighed>();
  if (facts.weighs || facts.goes_whole) u->dense = lane_for(all_reduce{}, dense_kind);
  can_roll_back_ = false;
  auto const at =
      std::upper_bound(units_.begin(), units_.end(), u, [](auto const& a, auto const& b) { return a->name < b->name; });
  return units_.insert(at, std::move(u))->get();
}
template <class Exec>
auto reducer<Exec>::lane_slot(std::string const& exchange, message_kind kind) -> std::unique_ptr<lane>& {
  return lanes_[exchange + " / " + describe(kind)];
}
template <class Exec>
auto reducer<Exec>::new_member(std::string name, unit* of, shape dims, std::size_t offset) -> tensor {
  auto m = std::make_unique<member>();
  m->name = std::move(name);
  m->dims = dims;
  m->of = of;
  m->offset = offset;
  label(*m);
  of->members.push_back(m.get());
  by_name_.insert(std::upper_bound(by_name_.begin(), by_name_.end(), m.get(),
                                   [](member* a, member* b) { return a->name < b->name; }),
                  m.get());
  tensors_.push_back(std::move(m));
  return {tensors_.size() - 1, id_};
}
template <class Exec>
auto reducer<Exec>::new_group(unit* of, std::vector<part_of_group> const& parts) -> std::vector<tensor> {
  of->joined = kernel::zeros(exec_, "gradpress::group", of->dims.size());
  std::vector<tensor> all;
  std::size_t offset = 0;
  for (auto const& p : parts) {
    all.push_back(new_member(p.name, of, {p.rows, p.cols}, offset));
    offset += p.rows * p.cols;
  }
  return all;
}

/// What ranks compare of a tensor.
template <class Exec>
void reducer<Exec>::label(member& m) const {
  m.method = m.of->live->text();
  if (m.of->joined.data() != nullptr) m.method += " in '" + m.of->name + "' at " + std::to_string(m.offset);
  if (m.of->watch != nullptr && m.of->watch->sums()) m.method += " with the sum of its signals";
  if (m.of->choice != nullptr && options_.link)
    m.method += " over " + detail::text_of(options_.link->sum) + " and " + detail::text_of(options_.link->gather);
  if (m.of->choice != nullptr && m.of->dense_now) m.method += ", dense";
}

template <class Exec>
buffer<Exec> reducer<Exec>::part_of(buffer<Exec> const& b, member const& m) {
  return Kokkos::subview(b, std::pair{m.offset, m.offset + m.dims.size()});
}

// ---- gradients ---------------------------------------------------------------------------------------------------

template <class Exec>
auto reducer<Exec>::find(std::string_view name) const -> tensor {
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if (tensors_[i]->name == name) return {i, id_};
  throw configuration_error(here() + "there is no tensor '" + std::string(name) + "' in this reducer; add it first");
}
template <class Exec>
auto reducer<Exec>::known(tensor t) const -> member& {
  if (!is_mine(t))
    throw configuration_error(here() +
                              "a tensor was named that this reducer does not know; use what its own add returned");
  return *tensors_[t.index];
}

template <class Exec>
void reducer<Exec>::stage(tensor t, float* gradient, std::size_t n) {
  if (!is_mine(t))
    return note(
        configuration_error("a tensor was staged that this reducer does not know; use what its own add returned"), "");
  auto& e = *tensors_[t.index];
  if (e.staged) return fail_stage(t, "it was staged twice in one step");
  e.staged = true;
  e.gradient = gradient;
  if (n != e.dims.size())
    return fail_stage(t, "the gradient has " + std::to_string(n) + " elements where " + std::to_string(e.dims.size()) +
                             " were registered");
  if (gradient == nullptr && n > 0) fail_stage(t, "the gradient is a null pointer");
}

template <class Exec>
void reducer<Exec>::fail_stage(tensor t, std::string const& why) {
  if (is_mine(t)) tensors_[t.index]->staged = true;
  note(configuration_error(why), is_mine(t) ? name(t) : "");
}

}  // namespace gradpress
