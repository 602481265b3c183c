// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Knobs that change while a tensor lives, and what is made anew for them.

#include <gradpress/compressor.hpp>
#include <gradpress/core/knobs.hpp>

#include <vector>

namespace gradpress {

namespace detail {
/// Of a method's policies, the projector's first: `of_projector` of them.
template <class M>
std::vector<live_knob> knobs_of(M& m, std::size_t& of_projector) {
  std::vector<live_knob> knobs;
  append_knobs(m.projector, knobs);
  of_projector = knobs.size();
  append_knobs(m.selector, knobs), append_knobs(m.quantizer, knobs);
  append_knobs(m.feedback, knobs), append_knobs(m.exchange, knobs);
  append_knobs(m.indices, knobs);
  return knobs;
}

/// Throws `configuration_error` where an exchange remembers what a rank reduces, and `now` would change that.
template <class M>
void check_reduced(M const& before, M const& now, std::size_t n, int world, std::string const& knob) {
  if constexpr (keeps_coefficients<decltype(M::exchange)>)
    for (int p = 0; p < world; ++p)
      if (reduced_by(before, n, p, world) != reduced_by(now, n, p, world))
        throw configuration_error(knob +
                                  " cannot change while the tensor lives: it says which rank reduces "
                                  "what, and those ranks remember; add the tensor with this value");
}
}  // namespace detail

template <class Exec, class M>
knob_change tensor_coder<Exec, M>::set(context const& ctx, std::string_view knob, std::string_view value) {
  auto changed = use;
  [[maybe_unused]] std::size_t of_projector = 0;
  auto const knobs = detail::knobs_of(changed, of_projector);
  auto change = change_knob(knobs, knob, value);
  check_knobs(changed);
  if constexpr (requires { changed.exchange.check_world(ctx.world); }) changed.exchange.check_world(ctx.world);
  detail::check_reduced(use, changed, dims.size(), ctx.world, change.name);
  if constexpr (!std::same_as<state_of<Pr, Exec>, stateless>)
    for (std::size_t i = 0; i < of_projector; ++i)
      if (knobs[i].qualified() == change.name && change.before != change.after) renew(ctx, changed.projector);
  use = changed;
  make_room();
  return change;
}

template <class Exec, class M>
std::string tensor_coder<Exec, M>::text() const {
  return use.text() + rate.text(use.feedback);
}

template <class Exec, class M>
std::string tensor_coder<Exec, M>::value(std::string_view knob) const {
  auto copy = use;
  std::size_t of_projector = 0;
  auto const found = find_knob(detail::knobs_of(copy, of_projector), knob);
  return found.text(found.field);
}

template <class Exec, class M>
bool tensor_coder<Exec, M>::learning_rate(float now) {
  rate.want(now);
  return rate.in_model_units(use.feedback);
}

/// What the projector keeps, made anew for other knobs.
template <class Exec, class M>
void tensor_coder<Exec, M>::renew(context const& ctx, Pr const& projector) {
  settle(ctx);
  if constexpr (defers)
    if (old_debt.owed) old_debt.pay(use.projector, ctx, dims, rest);
  make_debts(projector);
  state_of<Pr, Exec> fresh(projector, ctx, dims);
  if constexpr (requires { fresh.carry_over(ctx, projector, dims, basis); })
    fresh.carry_over(ctx, projector, dims, basis);
  basis = std::move(fresh);
  choice.renew(use.selector, ctx, last_count(projector, dims), first_count(projector, dims));
  renewed = true;
}

template <class Exec, class M>
void tensor_coder<Exec, M>::make_debts([[maybe_unused]] Pr const& projector) {
  if constexpr (defers)
    for (auto const [left, right] = projector.owes(dims); auto* d : {&debt, &old_debt}) *d = {left, right};
}

/// Workspace whose size hangs on knobs.
template <class Exec, class M>
void tensor_coder<Exec, M>::make_room() {
  [[maybe_unused]] auto const most = most_coefficients();
  if constexpr (!direct) {
    if (coefficients.extent(0) != most) coefficients = room(most);
    auto const last = last_count(use.projector, dims);
    if (has_memory && own.extent(0) != last) own = room(last);
  }
  if constexpr (!dense) {
    auto const k = use.selector.max_kept(most);
    if (kept.indices.extent(0) != k) kept.indices = unwritten<Exec, index_t>("gradpress::kept", k);
    if (values.extent(0) != k) values = room(k);
  }
  if constexpr (agreeing<Q>) {
    auto const size = use.quantizer.agreement_size(most);
    if (agreed.extent(0) != size) agreed = room(size);
  }
}

}  // namespace gradpress
