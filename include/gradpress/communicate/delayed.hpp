// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: a simulated link.

#include <gradpress/communicate/decorator.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string_view>
#include <thread>

namespace gradpress {

/// Adds up the seconds that each call would take on a link of `alpha` seconds a message and `beta` seconds a byte, and
/// waits them out if asked to (a sleep: the system may make it longer). A model, not a measurement; say so beside every
/// figure. Additions cost nothing in it; derived operations cost the all_gather they become.
///
/// With P ranks, m bytes of contribution and L = ceil(log2 P), the usual cost of each collective:
///
/// | operation               | seconds                                   | algorithm                            |
/// |-------------------------|-------------------------------------------|--------------------------------------|
/// | all_gather(_v)          | L alpha + beta (received - m)             | recursive doubling                   |
/// | all_reduce_sum, _max    | 2 L alpha + 2 (P-1)/P m beta              | halving and doubling                 |
/// | send_recv               | alpha + m beta                            | one message, both ways at once       |
/// | all_to_all              | (P-1) alpha + (P-1)/P m beta              | direct                               |
template <class Inner>
class delayed : public decorator<delayed<Inner>, Inner> {
 public:
  explicit delayed(Inner inner, double alpha = 50e-6, double beta = 8e-9, bool wait = false)
      : decorator<delayed, Inner>(std::forward<Inner>(inner)), alpha_(alpha), beta_(beta), wait_(wait) {}

  [[nodiscard]] double simulated_seconds() const noexcept { return seconds_; }
  void reset() noexcept { seconds_ = 0; }

  template <class Body>
  void around(call const& c, std::span<std::byte>, Body const& body) {
    body();
    auto const cost = cost_of(c);
    seconds_ += cost;
    if (wait_) std::this_thread::sleep_for(std::chrono::duration<double>(cost));
  }

 private:
  double alpha_, beta_, seconds_ = 0;
  bool wait_;

  double cost_of(call const& c) {
    auto const P = static_cast<double>(this->size()), sent = static_cast<double>(c.sent),
               received = static_cast<double>(c.received);
    if (P < 2) return 0;
    auto const rounds = std::ceil(std::log2(P));
    std::string_view const name = c.name;
    if (name.starts_with("all_gather")) return rounds * alpha_ + beta_ * (received - sent);
    if (name.starts_with("all_reduce")) return 2 * rounds * alpha_ + 2 * (P - 1) / P * sent * beta_;
    if (name == "all_to_all") return (P - 1) * alpha_ + (P - 1) / P * sent * beta_;
    auto const busy = std::max(sent, received);
    return busy > 0 ? alpha_ + busy * beta_ : 0;
  }
};
template <class Inner, class... Args>
delayed(Inner, Args...) -> delayed<Inner>;

}  // namespace gradpress
