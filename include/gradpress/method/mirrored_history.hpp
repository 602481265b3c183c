// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Of ranks the last few vectors that were decoded on their behalf, kept wherever messages of theirs arrive.

#include <gradpress/core/checksum.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/kernel/dense.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace gradpress {

/// The newest `order` vectors of each of the ranks [first, first + count), and room for the next.
///
/// - Shape      count (order + 1) vectors of n floats.
/// - Invariant  what is known of a rank is equal bit for bit wherever it is kept, if all write, push and pop alike.
/// - Commit     `next` is written while a step may still fail; `push` makes it the newest without moving a float, and
///              `pop` takes that back, the oldest included.
template <class Exec>
class mirrored_history {
  std::vector<buffer<Exec>> slots_;  // order + 1 a rank; where the next one goes lies at head_
  buffer<Exec> known_;               // one number, as checkpoints keep it
  std::size_t order_ = 0, head_ = 0;
  int first_ = 0, count_ = 0;
  int before_ = 0;       // what was known before the last push
  bool pushed_ = false;  // and not popped

 public:
  mirrored_history(Exec const& exec, int first, int count, int order, std::size_t n)
      : order_(static_cast<std::size_t>(order)), first_(first), count_(count) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(count) * (order_ + 1); ++i)
      slots_.push_back(kernel::zeros(exec, "gradpress::history", n));
    known_ = kernel::zeros(exec, "gradpress::known", 1);
  }

  /// Of how many steps: at most the order.
  [[nodiscard]] int known() const {
    auto const saved = known_(0);
    return saved >= 1 ? static_cast<int>(std::min(saved, static_cast<float>(order_))) : 0;
  }
  /// What rank p's next one is to be.
  [[nodiscard]] buffer<Exec> const& next(int p) const { return slot(p, 0); }
  /// Rank p's, `lag` steps ago: 1 is the newest.
  [[nodiscard]] buffer<Exec> const& past(int p, int lag) const { return slot(p, static_cast<std::size_t>(lag)); }

  void push() {
    before_ = known();
    known_(0) = static_cast<float>(std::min(before_ + 1, static_cast<int>(order_)));
    head_ = (head_ + order_) % (order_ + 1);
    pushed_ = true;
  }
  void pop() {
    if (!pushed_) return;
    pushed_ = false;
    known_(0) = static_cast<float>(before_);
    head_ = (head_ + 1) % (order_ + 1);
  }
  /// Of what is known of rank p. Reads it all.
  [[nodiscard]] std::uint64_t checksum(int p) const {
    digest all;
    all.add(static_cast<std::uint64_t>(known()));
    for (int lag = 1; lag <= known(); ++lag) {
      auto const& x = past(p, lag);
      all.add(gradpress::checksum(std::as_bytes(std::span(x.data(), x.extent(0)))));
    }
    return all.value();
  }

  /// "rank0.lag1" ... of n floats each, then "known", one number.
  template <class V>
  void visit(V&& v) {
    for (int p = first_; p < first_ + count_; ++p)
      for (int lag = 1; lag <= static_cast<int>(order_); ++lag)
        v(("rank" + std::to_string(p) + ".lag" + std::to_string(lag)).c_str(), past(p, lag));
    v("known", known_);
  }

 private:
  buffer<Exec> const& slot(int p, std::size_t lag) const {
    return slots_[static_cast<std::size_t>(p - first_) * (order_ + 1) + (head_ + lag) % (order_ + 1)];
  }
};

}  // namespace gradpress
