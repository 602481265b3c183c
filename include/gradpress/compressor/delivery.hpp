// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// From what arrived to the mean gradient, and to the memory what of mine is not in it.

#include <gradpress/compressor.hpp>
#include <gradpress/kernel/entries.hpp>

namespace gradpress {

template <class Exec, class M>
view<Exec> tensor_coder<Exec, M>::mean_coefficients(context const& ctx, arrival<Exec> arrived) const {
  auto const mean = ctx.scratch(count_of(ctx.phase));
  decoder().decode_mean(ctx, arrived, mean);
  return mean;
}

/// Of coefficients that add up: their mean, lifted. What of mine was delivered leaves the signal in the same pass, or in
/// that of the next projection, where the projector can do so.
template <class Exec, class M>
void tensor_coder<Exec, M>::lift_mean(context const& ctx, arrival<Exec> arrived, view<Exec> g) {
  [[maybe_unused]] constexpr bool keep_first = requires { requires F::keeps_gradient; };
  in<Exec> const mean = mean_coefficients(ctx, arrived);
  if constexpr (defers) {
    owe_own(ctx, mean);
    keep(ctx, g);
    use.projector.lift(ctx, dims, mean, basis, g);
  } else if constexpr (has_memory && !keep_first &&
                       requires { use.projector.lift_both(ctx, dims, mean, mean, basis, g, view<Exec>(rest)); }) {
    auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
    use.projector.lift_both(ctx, dims, mean, mine, basis, g, view<Exec>(rest));
    keep(ctx, g);
  } else {
    deliver_own(ctx, g);
    auto const update = use.projector.lift(ctx, dims, mean, basis, g);
    if (update.data() != g.data()) kernel::copy(ctx.exec, update.data(), dims.size(), g.data());
  }
  if constexpr (requires { use.projector.commit(ctx, dims, mean, basis); })
    use.projector.commit(ctx, dims, mean, basis);
}

/// Of coefficients that do not add up: each rank's, lifted, and the mean of those.
template <class Exec, class M>
void tensor_coder<Exec, M>::lift_each(context const& ctx, arrival<Exec> arrived, view<Exec> g) {
  deliver_own(ctx, g);
  auto const size = dims.size();
  auto const coefs = ctx.scratch(count_of(ctx.phase));
  view<Exec> const room = ctx.scratch(size);
  for (std::size_t i = 0; i < arrived.messages.size(); ++i) {
    decoder().decode_message(ctx, arrived.messages[i], coefs);
    auto const lifted = use.projector.lift(ctx, dims, in<Exec>(coefs), basis, i == 0 ? g : room);
    if (i > 0)
      kernel::accumulate(ctx.exec, lifted.data(), false, g.data(), size);
    else if (lifted.data() != g.data())
      kernel::copy(ctx.exec, lifted.data(), size, g.data());
  }
  kernel::divide(ctx.exec, g.data(), size, static_cast<float>(ctx.world));
  if constexpr (requires { use.projector.commit(ctx, dims, g, basis); }) use.projector.commit(ctx, dims, g, basis);
}

/// The product that leaves the signal, as a debt where the memory may have one.
template <class Exec, class M>
void tensor_coder<Exec, M>::owe_own(context const& ctx, in<Exec> mean) {
  if constexpr (defers) {
    std::swap(debt, old_debt);
    auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
    use.projector.owe(ctx, dims, Pr::linear ? mean : mine, mine, basis, debt.basis, debt.factor);
    debt.owed = true;
    if (!use.feedback.may_owe()) debt.pay(use.projector, ctx, dims, rest);
  }
}

/// Behind a projector: what of mine was delivered, lifted, leaves the signal.
template <class Exec, class M>
void tensor_coder<Exec, M>::deliver_own(context const& ctx, view<Exec> g) {
  if constexpr (defers) {
    owe_own(ctx, {});
    keep(ctx, g);
  } else if constexpr (has_memory) {
    auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
    auto const delivered = use.projector.lift(ctx, dims, mine, basis, ctx.scratch(dims.size()));
    kernel::accumulate(ctx.exec, delivered.data(), true, rest.data(), dims.size());
    keep(ctx, g);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::keep(context const& ctx, view<Exec> g) {
  if constexpr (keeps_by_position)
    if (only_sent)
      return use.feedback.keep_at(ctx, in<Exec>(g), rest, in<Exec, index_t>(kept.indices.data(), kept.count), memory);
  if constexpr (has_memory) use.feedback.keep(ctx, in<Exec>(g), rest, memory);
}

/// What an exchange leaves out of the update was not delivered after all.
template <class Exec, class M>
void tensor_coder<Exec, M>::return_to_memory(context const& ctx, kernel::stream const& dropped) {
  if (has_memory && last_phase(ctx)) {
    only_sent = false;
    if constexpr (direct)
      kernel::add_at(rest.data(), dropped.indices, dropped.values, dropped.count);
    else
      kernel::subtract_at(ctx.exec, own.data(), dropped.indices, dropped.values, dropped.count);
  }
}

/// Relieves the memory of what it owes, and brings it into the units of the learning rate as it is now; false, and in
/// the old units, if it has numbers that are too large for that.
template <class Exec, class M>
bool tensor_coder<Exec, M>::settle(context const& ctx) {
  if constexpr (defers)
    if (debt.owed) debt.pay(use.projector, ctx, dims, use.feedback.addend(memory));
  return rate.settle(use.feedback, ctx, memory);
}

}  // namespace gradpress
