// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Decorator: keeps what arrived, for golden files and for looking at the wire.

#include <gradpress/communicate/decorator.hpp>

#include <string>
#include <vector>

namespace gradpress {

/// Every call in order, with the bytes that arrived here. Grows without bound: for tests and inspection.
template <class Inner>
class recording : public decorator<recording<Inner>, Inner> {
 public:
  struct entry {
    std::string name;
    std::size_t sent;
    std::vector<std::byte> arrived;
  };
  using decorator<recording, Inner>::decorator;

  [[nodiscard]] std::vector<entry> const& log() const noexcept { return log_; }
  void clear() { log_.clear(); }

  template <class Body>
  void around(call const& c, std::span<std::byte> arrives, Body const& body) {
    body();
    log_.push_back({c.name, c.sent, {arrives.begin(), arrives.end()}});
  }

 private:
  std::vector<entry> log_;
};
template <class Inner>
recording(Inner) -> recording<Inner>;

}  // namespace gradpress
