// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: counts calls and bytes.

#include <gradpress/communicate/decorator.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace gradpress {

/// What went through, by operation. Bytes are this rank's contribution as it handed it in, not what the transport makes
/// of it: the same call costs a ring and a tree different amounts. What is received counts without what comes from
/// this rank itself. Derived operations count as the all_gather they become.
template <class Inner>
class counting : public decorator<counting<Inner>, Inner> {
 public:
  struct tally {
    std::uint64_t calls = 0, bytes = 0, received = 0;
  };
  using decorator<counting, Inner>::decorator;

  [[nodiscard]] std::map<std::string, tally> const& counts() const noexcept { return counts_; }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (auto const& [name, t] : counts_) sum += t.bytes;
    return sum;
  }
  [[nodiscard]] std::uint64_t received() const {
    std::uint64_t sum = 0;
    for (auto const& [name, t] : counts_) sum += t.received;
    return sum;
  }
  [[nodiscard]] std::uint64_t calls() const {
    std::uint64_t sum = 0;
    for (auto const& [name, t] : counts_) sum += t.calls;
    return sum;
  }
  void reset() noexcept { counts_.clear(); }

  template <class Body>
  void around(call const& c, std::span<std::byte>, Body const& body) {
    body();
    auto& t = counts_[c.name];
    ++t.calls;
    t.bytes += c.sent;
    t.received += c.received - c.returned;
  }

 private:
  std::map<std::string, tally> counts_;
};
template <class Inner>
counting(Inner) -> counting<Inner>;

}  // namespace gradpress
