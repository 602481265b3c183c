// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a collective costs between these ranks: seconds a call and seconds a byte, measured.

#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/link.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace gradpress {

/// The collective that is timed.
enum class timed { all_reduce, all_gather };

/// How a link is measured. Equal on all ranks.
struct link_options {
  timed with = timed::all_reduce;
  std::vector<std::size_t> sizes = {1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20};  ///< bytes, multiples of 4
  int repetitions = 5;  ///< of each size; the shortest counts
};

/// The line that fits best, neither of its numbers negative.
///
/// - Fit       least squares of relative errors: a microsecond counts for more in a call of ten than in one of a
///             thousand, or large messages alone would decide and alpha would drown.
/// - Edges     one size, or equal times, give what they can: alpha alone where time does not grow with size, beta alone
///             where the line would start below zero. Times of zero or less weigh as the shortest positive one.
inline link_cost fit_link(std::span<double const> bytes, std::span<double const> seconds) {
  double shortest = 0;
  for (auto const t : seconds)
    if (t > 0 && (shortest == 0 || t < shortest)) shortest = t;
  if (shortest == 0) return {};
  double w = 0, wm = 0, wmm = 0, wt = 0, wmt = 0;  // sums of weights, times m, m^2, t and m t
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto const m = bytes[i], t = std::max(0.0, seconds[i]), relative = 1 / std::max(t, shortest),
               weight = relative * relative;
    w += weight, wm += weight * m, wmm += weight * m * m, wt += weight * t, wmt += weight * m * t;
  }
  auto const spread = w * wmm - wm * wm;
  if (spread <= 1e-12 * w * wmm) return {wt / w, 0};  // all sizes are one
  link_cost const free{(wmm * wt - wm * wmt) / spread, (w * wmt - wm * wt) / spread};
  if (free.beta < 0) return {wt / w, 0};
  if (free.alpha < 0) return {0, wmt / wmm};
  return free;
}

/// Times collectives of several sizes and fits a line to them. All ranks call it, with equal options, and get the same
/// bits: of every size they share the time of the slowest rank.
///
/// - Cost      sizes x (repetitions + 1) collectives, each behind a gather of one byte that brings the ranks together.
/// - Noise     of every size the shortest repetition counts, since whatever else runs only makes a call longer.
/// - Clock     any callable that returns seconds; the default never goes backwards.
/// - Source    the fit by which Shi, Chu, Li, MG-WFBP, INFOCOM 2019, section IV.C, find a and b. Differs: relative
///             errors, and the slowest rank instead of rank 0.
template <class C, class Clock>
link_cost measure_link(C& comm, link_options const& options, Clock const& clock) {
  auto const refuse = [&](std::string const& why) {
    throw configuration_error("measure_link: rank " + std::to_string(comm.rank()) + ": " + why);
  };
  if (options.repetitions < 1) refuse("repetitions must be at least 1");
  if (options.sizes.empty()) refuse("sizes must hold at least one size");
  for (auto const m : options.sizes)
    if (m == 0 || m % sizeof(float) != 0) refuse("sizes must be positive multiples of 4, not " + std::to_string(m));

  auto const ranks = static_cast<std::size_t>(comm.size());
  auto const most = *std::max_element(options.sizes.begin(), options.sizes.end());
  bool const gathers = options.with == timed::all_gather;
  std::vector<float> mine(most / sizeof(float)), all(gathers ? ranks * mine.size() : 0);
  std::byte const token{};  // not a part of `here`, which other ranks would read while this one writes
  std::vector<std::byte> here(ranks);
  collective::room_t room;
  std::vector<double> bytes, seconds;
  for (auto const m : options.sizes) {
    auto const x = std::span(mine).first(m / sizeof(float));
    auto const once = [&] {
      comm.all_gather(std::span(&token, 1), here);
      auto const start = static_cast<double>(clock());
      if (gathers)
        comm.all_gather(std::as_bytes(x), std::as_writable_bytes(std::span(all)).first(ranks * m));
      else
        collective::all_reduce_sum(comm, x, room);
      return static_cast<double>(clock()) - start;
    };
    once();  // memory is met and connections are made
    double shortest = once();
    for (int i = 1; i < options.repetitions; ++i) shortest = std::min(shortest, once());
    bytes.push_back(static_cast<double>(m));
    seconds.push_back(shortest);
  }
  std::vector<double> of_all(ranks * seconds.size());
  comm.all_gather(std::as_bytes(std::span(seconds)), std::as_writable_bytes(std::span(of_all)));
  for (std::size_t i = 0; i < of_all.size(); ++i) {
    auto& slowest = seconds[i % seconds.size()];
    slowest = i < seconds.size() ? of_all[i] : std::max(slowest, of_all[i]);
  }
  return fit_link(bytes, seconds);
}
template <class C>
link_cost measure_link(C& comm, link_options const& options = {}) {
  return measure_link(comm, options, [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  });
}

}  // namespace gradpress
