// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: breaks things on purpose, for tests of what happens then.

#include <gradpress/communicate/decorator.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <functional>
#include <string>

namespace gradpress {

/// What to break. Calls are counted from 0, on each rank for itself.
struct faults {
  using corruption = std::function<void(long call, std::span<std::byte> arrived)>;

  long throws_at = -1;       ///< this call throws before it does anything
  corruption corrupts = {};  ///< sees, and may change, everything that arrives
  int rank = -1;             ///< the only rank to suffer; -1: every rank that has these faults

  /// Call `at`, all bits of byte `where` turned over; nothing if fewer bytes arrive.
  static corruption flip_byte(long at, std::size_t where) {
    return [=](long call, std::span<std::byte> arrived) {
      if (call == at && where < arrived.size()) arrived[where] = ~arrived[where];
    };
  }
  /// Call `at`, only the first `kept` bytes arrive; the receiver's buffer holds zeros behind them.
  static corruption truncate(long at, std::size_t kept) {
    return [=](long call, std::span<std::byte> arrived) {
      if (call == at && kept < arrived.size()) std::ranges::fill(arrived.subspan(kept), std::byte{0});
    };
  }
};

/// Throws at its k-th call, after releasing the ranks that would wait for it, or damages what arrives.
template <class Inner>
class faulty : public decorator<faulty<Inner>, Inner> {
  faults faults_;
  long calls_ = 0;

 public:
  explicit faulty(Inner inner, faults f = {})
      : decorator<faulty, Inner>(std::forward<Inner>(inner)), faults_(std::move(f)) {}

  [[nodiscard]] long calls() const noexcept { return calls_; }

  template <class Body>
  void around(call const& c, std::span<std::byte> arrives, Body const& body) {
    auto const number = calls_++;
    bool const suffers = faults_.rank < 0 || faults_.rank == this->rank();
    if (suffers && number == faults_.throws_at) {
      auto const why = "fault planted in call " + std::to_string(number) + " (" + c.name + ")";
      if constexpr (concepts::has_abandon<Inner>) this->abandon(why);
      throw communicator_error(why);
    }
    body();
    if (suffers && faults_.corrupts) faults_.corrupts(number, arrives);
  }
};
template <class Inner, class... Args>
faulty(Inner, Args...) -> faulty<Inner>;

}  // namespace gradpress
