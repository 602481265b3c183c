// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which way a tensor takes whose exchange is `automatic`, and whether compression pays at all.

#include <gradpress/communicate/link.hpp>
#include <gradpress/reducer.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace gradpress {

namespace detail {

/// The transport with the calls of a communicator, for what is written against those.
struct transport_as_communicator {
  transport& to;
  [[nodiscard]] int rank() const { return to.rank(); }
  [[nodiscard]] int size() const { return to.size(); }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) { to.all_gather(mine, all); }
  void all_reduce_sum(std::span<float> x) { to.all_reduce_sum(scalar::f32, x.data(), x.size()); }
};

}  // namespace detail

/// Weighs the tensors that have taken three compressed steps. After the agreement,
/// so that all ranks do so in the same step, with the same numbers and the same result.
template <class Exec>
void reducer<Exec>::weigh() {
  std::size_t elements = 0;
  std::vector<unit*> due;
  for (auto& u : units_)
    if (u->staged && u->choice != nullptr && !u->choice->done && u->choice->steps > 2) {
      due.push_back(u.get());
      elements += u->dims.size();
    }
  if (due.empty()) return;
  constexpr std::size_t worth_it = std::size_t{1} << 16;
  if (comm_->size() == 1 || elements < worth_it) {
    for (auto* u : due) u->choice->done = true, u->choice->why = "all_gather: too little to weigh";
    return;
  }
  guarded(0, "measurement of the link", [&] {
    if (!options_.link) measure_costs();
    choose(due, share_weights(due));
  });
  for (auto* u : due) u->choice->done = true;
}

template <class Exec>
void reducer<Exec>::count_codec(weighed& c, double last) {
  c.seconds += last;
  c.codec = c.steps <= 1 ? c.seconds : std::min(c.codec, c.seconds);
  ++c.steps;
}

/// From a small and a large message: links that are shaped, and transports that change their protocol, lie on no line,
/// and the large one is what tensors are like.
template <class Exec>
void reducer<Exec>::measure_costs() {
  detail::transport_as_communicator comm{*comm_};
  link_options how{.with = gradpress::timed::all_reduce, .sizes = {1 << 10, 1 << 22}, .repetitions = 3};
  link_costs costs;
  costs.sum = measure_link(comm, how);
  how = {.with = gradpress::timed::all_gather, .sizes = {1 << 10, 1 << 20}, .repetitions = 3};
  costs.gather = measure_link(comm, how);
  options_.link = costs;
}

template <class Exec>
auto reducer<Exec>::share_weights(std::vector<unit*> const& due) -> std::vector<detail::measured_weight> {
  std::vector<detail::measured_weight> mine;
  for (auto const* u : due) {
    auto const n = u->dims.size();
    // Not the gradient: what was staged may be the mistake that this step is about to report.
    auto const from = arena_->template take<float>(n), room = arena_->template take<float>(n);
    kernel::fill_zero(exec_, from.data(), n);
    double fastest = 0;
    for (int i = 0; i < 3; ++i) {
      auto const start = clock::now();
      kernel::copy(exec_, from.data(), n, room.data());
      fence(exec_);
      fastest = i == 0 ? since(start) : std::min(fastest, since(start));
    }
    arena_->release();
    mine.push_back({u->choice->codec, fastest, static_cast<double>(u->choice->bytes)});
  }
  auto const ranks = static_cast<std::size_t>(comm_->size());
  std::vector<detail::measured_weight> all(ranks * mine.size());
  comm_->all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& w = mine[i % mine.size()];
    if (i < mine.size()) w = all[i];
    w = {std::max(w.codec, all[i].codec), std::max(w.copy, all[i].copy), std::max(w.bytes, all[i].bytes)};
  }
  return mine;
}

template <class Exec>
void reducer<Exec>::choose(std::vector<unit*> const& due, std::vector<detail::measured_weight> const& weights) {
  auto const& link = *options_.link;
  auto const load_of = [&](unit const& u, double bytes) {
    auto const n = static_cast<double>(u.dims.size());
    return message_load{static_cast<double>(comm_->size()), n, std::min(n, bytes / 8), bytes};
  };
  std::map<lane*, message_load> loads;
  std::vector<double> compressed(due.size()), dense(due.size());
  auto const share = 1.0 / static_cast<double>(due.size());
  for (std::size_t i = 0; i < due.size(); ++i) {
    auto& u = *due[i];
    auto const load = load_of(u, weights[i].bytes);
    auto cost = link;
    cost.gather.alpha *= share;  // messages of a lane travel together
    auto& l = *u.lanes.back();
    compressed[i] = weights[i].codec + l.forecast(best_way(l, cost, load), cost, load);
    // Copied into the message, checked twice, and divided out of it.
    dense[i] = 3 * weights[i].copy + share * link.sum.alpha + link.sum.beta * 4 * load.coefficients;
    u.dense_now = dense[i] <= compressed[i];
    u.live->travel_dense(u.dense_now);
    for (auto* m : u.members) label(*m);
    if (u.dense_now) continue;
    auto& whole = loads[&l];
    whole.ranks = load.ranks;
    whole.coefficients += load.coefficients, whole.entries += load.entries, whole.bytes += load.bytes;
  }
  for (auto& [l, load] : loads) l->way = best_way(*l, link, load);
  for (std::size_t i = 0; i < due.size(); ++i)
    due[i]->choice->why =
        explain_choice(*due[i], weights[i], load_of(*due[i], weights[i].bytes), compressed[i], dense[i]);
}

template <class Exec>
int reducer<Exec>::best_way(lane const& l, link_costs const& link, message_load const& load) {
  int best = 0;
  for (int w = 1; w < static_cast<int>(l.ways().size()); ++w)
    if (l.forecast(w, link, load) < l.forecast(best, link, load)) best = w;
  return best;
}

template <class Exec>
std::string reducer<Exec>::explain_choice(unit const& u, detail::measured_weight const& w, message_load const& load,
                                          double compressed, double dense) const {
  auto const ms = [](double seconds) { return detail::knob_text(std::round(seconds * 1e5) / 100) + " ms"; };
  auto const cost = [](link_cost const& c) {
    return detail::knob_text(std::round(c.alpha * 1e7) / 10) + " us + " +
           detail::knob_text(std::round(c.beta * 1e11) / 100) + " ns/byte";
  };
  auto const& l = *u.lanes.back();
  auto text = (u.dense_now ? "dense" : std::string(l.ways()[static_cast<std::size_t>(l.way)])) + ": compressed " +
              ms(compressed) + " (codec " + ms(w.codec) + "), dense " + ms(dense) +
              "; P = " + std::to_string(comm_->size()) + ", all-reduce " + cost(options_.link->sum) + ", all-gather " +
              cost(options_.link->gather);
  if (l.ways().size() > 1)
    text += "; " + std::to_string(static_cast<std::uint64_t>(load.entries)) + " entries a rank, " +
            std::to_string(static_cast<std::uint64_t>(expected_union(load.coefficients, load.entries, load.ranks))) +
            " of " + std::to_string(u.dims.size()) + " expected in the sum";
  return text;
}

}  // namespace gradpress
