// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: breaks things on purpose, for tests of what happens then.

#include <gradpress/communicate/decorator.hpp>

#include <functional>
#include <stdexcept>
#include <string>

namespace gradpress {

/// What to break. Calls are counted from 0, on this rank.
struct faults {
  long throws_at = -1;                                            ///< this call throws before it does anything
  std::function<void(long call, std::span<std::byte>)> corrupts;  ///< sees, and may change, everything that arrives
};

/// Throws at its k-th call, after releasing the ranks that would wait for it, or damages what arrives.
template <class Inner>
class faulty : public decorator<faulty<Inner>, Inner> {
  faults faults_;
  long calls_ = 0;

 public:
  explicit faulty(Inner inner, faults f = {}) : decorator<faulty, Inner>(std::move(inner)), faults_(std::move(f)) {}

  [[nodiscard]] long calls() const noexcept { return calls_; }

  template <class Body>
  void around(call const& c, std::span<std::byte> arrives, Body const& body) {
    auto const number = calls_++;
    if (number == faults_.throws_at) {
      auto const why = "fault planted in call " + std::to_string(number) + " (" + c.name + ")";
      this->abandon(why);
      throw std::runtime_error(why);
    }
    body();
    if (faults_.corrupts) faults_.corrupts(number, arrives);
  }
};
template <class Inner, class... Args>
faulty(Inner, Args...) -> faulty<Inner>;

}  // namespace gradpress
