// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: keeps what this rank handed in and what arrived, for golden files and for looking at the wire.

#include <gradpress/communicate/decorator.hpp>

#include <string>
#include <vector>

namespace gradpress {

/// Every completed call in order, with copies of its bytes. Grows without bound: for tests and inspection.
template <class Inner>
class recording : public decorator<recording<Inner>, Inner> {
 public:
  struct entry {
    std::string name;
    std::vector<std::byte> sent;     ///< empty where send_recv sends to nobody
    std::vector<std::byte> arrived;  ///< a sum or maximum: the result
    int to, from;                    ///< of send_recv; -1 elsewhere
  };
  using decorator<recording, Inner>::decorator;

  [[nodiscard]] std::vector<entry> const& log() const noexcept { return log_; }
  void clear() { log_.clear(); }

  template <class Body>
  void around(call const& c, std::span<std::byte> arrives, Body const& body) {
    entry e{c.name, {c.contribution.begin(), c.contribution.end()}, {}, c.to, c.from};  // before a sum replaces it
    body();
    e.arrived.assign(arrives.begin(), arrives.end());
    log_.push_back(std::move(e));
  }

 private:
  std::vector<entry> log_;
};
template <class Inner>
recording(Inner) -> recording<Inner>;

}  // namespace gradpress
