// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What is measured of watched tensors, and nothing where nobody watches.

#include <gradpress/reducer.hpp>

#include <algorithm>
#include <cmath>

namespace gradpress {

template <class Exec>
void reducer<Exec>::watch(tensor t, std::function<void(measurement const&)> observer, watch_options options) {
  auto& u = *known(t).of;
  u.watch.reset();
  if (observer) {
    u.watch = std::make_unique<watched>();
    u.watch->tell = std::move(observer);
    u.watch->what = options;
    if (u.watch->sums()) u.watch->sum = unwritten<Exec>("gradpress::sum", u.dims.size());
  }
  for (auto* m : u.members) label(*m);
  bool const any = std::any_of(units_.begin(), units_.end(), [](auto const& v) { return v->watch != nullptr; });
  if (!any) counted_.reset();
  if (any && counted_ == nullptr) counted_ = std::make_unique<counted_transport>(*comm_);
}

template <class Exec>
void reducer<Exec>::begin_measuring() {
  static_cast<void>(counted_->take());
  for (auto& u : units_)
    if (u->watch != nullptr)
      u->watch->now = {
          .tensor = u->name, .step = number_, .elements = u->dims.size(), .rows = u->dims.rows, .cols = u->dims.cols};
}

template <class Exec>
double* reducer<Exec>::partial(unit const& u) const {
  return arena_->template take<double>(kernel::dense_chunks(u.dims.size())).data();
}

template <class Exec>
void reducer<Exec>::measure_signal(unit& u, step<Exec> const& ctx, bytes<Exec> message, double seconds) {
  auto& now = u.watch->now;
  now.encode_seconds += seconds;
  if (ctx.phase + 1 < u.live->phases()) return;
  attempt(u, [&] {
    auto const n = u.dims.size();
    auto const signal = arena_->template take<float>(n);
    u.live->signal(ctx, in<Exec>(u.gradient, n), signal);
    now.signal = kernel::norm(exec_, signal.data(), n, partial(u));
    now.left_behind = u.live->left_behind(ctx, message);
  });
}

/// Bytes and seconds of a letter, by the size of its sections.
template <class Exec>
void reducer<Exec>::share(lane const& l, letter<Exec> const& of, int phase, double seconds) {
  auto const received = counted_->take();
  std::size_t all = 0;
  for (auto const& s : of.sections) all += s.size;
  auto const weight = [&](auto const& s) { return static_cast<double>(all == 0 ? 1 : s.size); };
  double const whole = all == 0 ? static_cast<double>(of.sections.size()) : static_cast<double>(all);
  for (auto& u : units_) {
    if (u->watch == nullptr || !in_phase(*u, phase) || &lane_in(*u, phase) != &l) continue;
    double before = 0;
    for (std::size_t i = 0; i < u->section; ++i) before += weight(of.sections[i]);
    auto const its = weight(of.sections[u->section]);
    auto const until = [&](std::uint64_t bytes, double end) {
      return static_cast<std::uint64_t>(static_cast<double>(bytes) * (end / whole));
    };
    auto& now = u->watch->now;
    now.bytes_sent += until(of.sent, before + its) - until(of.sent, before);
    now.bytes_received += until(received, before + its) - until(received, before);
    now.exchange_seconds += seconds * its / whole;
  }
}

/// The sum of all ranks' signals, where it is asked for; while a step may still fail, since memories go with it.
template <class Exec>
void reducer<Exec>::add_signals() {
  for (auto& u : units_) {
    if (!u->staged || u->watch == nullptr || !u->watch->sums()) continue;
    auto const& sum = u->watch->sum;
    kernel::fill_zero(exec_, sum.data(), sum.extent(0));
    if (!failure_)
      attempt(*u, [&] {
        u->live->signal(context(*u, u->live->phases() - 1), in<Exec>(u->gradient, u->dims.size()), view<Exec>(sum));
      });
    guarded(most_phases(), "sum of signals", [&] { comm_->all_reduce_sum(scalar::f32, sum.data(), sum.extent(0)); });
    statistics_.control_bytes += 4 * sum.extent(0);
  }
}

template <class Exec>
void reducer<Exec>::measure_update(unit& u, double seconds) {
  auto& now = u.watch->now;
  now.decode_seconds += seconds;
  auto const n = u.dims.size();
  auto const kept = kernel::count_nonzero(exec_, u.gradient, n, partial(u));
  auto const density = n == 0 ? 0 : static_cast<double>(kept) / static_cast<double>(n);
  now.update_density = density;
  if (u.watch->what.signals) now.sum = {u.watch->sum.data(), n};
  if (u.watch->what.assumption) {
    auto const* sum = u.watch->sum.data();
    auto const at_random = std::sqrt(1 - density) * kernel::norm(exec_, sum, n, partial(u));
    auto const lost = kernel::distance(exec_, sum, static_cast<double>(size()), u.gradient, n, partial(u));
    now.assumption = at_random > 0 ? lost / at_random : 0;
  }
  arena_->release();
}

template <class Exec>
void reducer<Exec>::tell() {
  for (auto& u : units_)
    if (u->committed && u->watch != nullptr) u->watch->tell(u->watch->now);
}

}  // namespace gradpress
