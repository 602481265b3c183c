// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a reducer keeps: the tensors that the user named, the units that are compressed as one, the lanes on which their
/// messages travel together.

#include <gradpress/compressor.hpp>
#include <gradpress/core/link.hpp>
#include <gradpress/core/measurement.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace gradpress {

template <class Exec>
class reducer;

namespace detail {

/// Never 0: a handle that nobody gave belongs to nobody.
inline std::uint32_t next_reducer_id() noexcept {
  static std::atomic<std::uint32_t> last{0};
  return ++last;
}

/// Tensors whose messages are of one kind and take one exchange.
template <class Exec>
class lane {  // by that word it is compiled once
 public:
  std::vector<std::unique_ptr<letter<Exec>>> letters;  // one a phase: messages live until the commit
  message_kind kind;
  virtual ~lane();
  virtual void run(step<Exec> const&, transport&, letter<Exec>&) const = 0;
  int way = 0;  // of an exchange that has several
  [[nodiscard]] virtual std::span<std::string_view const> ways() const { return {}; }
  [[nodiscard]] virtual double forecast(int, link_costs const&, message_load const&) const { return 0; }
  letter<Exec>& at(int phase) {
    while (letters.size() <= static_cast<std::size_t>(phase)) letters.push_back(std::make_unique<letter<Exec>>(kind));
    return *letters[static_cast<std::size_t>(phase)];
  }
};
template <class Exec>
lane<Exec>::~lane() = default;
GRADPRESS_CLASS_ONCE(lane);
template <class Exec, class X>
struct lane_of final : lane<Exec> {
  X exchange;
  explicit lane_of(X const& x, message_kind k) : exchange(x) { this->kind = k; }
  void run(step<Exec> const& ctx, transport& t, letter<Exec>& l) const override { exchange.run(ctx, t, l); }
  std::span<std::string_view const> ways() const override {
    if constexpr (weighs_dense<X>)
      return this->kind.combines == combination::merge ? X::ways : std::span(X::ways).first(1);
    return {};
  }
  double forecast([[maybe_unused]] int w, [[maybe_unused]] link_costs const& c,
                  [[maybe_unused]] message_load const& m) const override {
    if constexpr (weighs_dense<X>) return X::forecast(static_cast<typename X::way>(w), c, m);
    return 0;
  }
};
template <class Exec>
struct unit;
/// What the user named.
template <class Exec>
struct member {
  std::string name;
  shape dims;
  unit<Exec>* of = nullptr;
  std::size_t offset = 0;  // in its unit
  std::string method;      // and, of a group, the place in it: ranks must agree on both
  float* gradient = nullptr;
  bool staged = false;
};
/// A knob that is a value of the step number.
struct followed {
  std::string knob;  // with its policy's name
  std::function<double(std::uint64_t)> value;
  double applied;
};
/// Who is told of a tensor's steps, and what there is to tell.
template <class Exec>
struct watched {
  std::function<void(measurement const&)> tell;
  watch_options what;
  measurement now;
  buffer<Exec> sum;  // of all ranks' signals
  [[nodiscard]] bool sums() const { return what.assumption || what.signals; }
};
/// What ranks share of a tensor that is weighed; of each number the largest counts.
struct measured_weight {
  double codec, copy, bytes;
};
/// What `automatic` knows of a tensor.
struct weighed {
  int steps = 0;  // compressed ones since it was added or a knob of it changed
  bool done = false;
  double seconds = 0;     // of the codec, in the step under way
  double codec = 0;       // the shortest of them, but for the first, which meets cold memory
  std::size_t bytes = 0;  // of its last message
  std::string why = "all_gather: not yet weighed";
};
using texts = std::map<std::string, std::string>;
/// What is compressed as one: a tensor, or a group of them end to end.
template <class Exec>
struct unit {
  std::string name;
  std::string method;       // as it was added
  texts as_added, changed;  // knobs that have another value now: what it was, and what it is
  std::vector<followed> schedules;
  std::unique_ptr<watched<Exec>> watch;  // null unless somebody watches
  shape dims;
  std::uint64_t key = 0;
  std::unique_ptr<coder<Exec>> live;
  std::vector<lane<Exec>*> lanes;   // one a phase of a round
  std::unique_ptr<weighed> choice;  // null unless the exchange weighs its ways
  lane<Exec>* dense = nullptr;      // where it travels dense, if it may
  bool dense_now = false;
  // The last of them, by the exchange's knobs as they are now.
  lane<Exec>* (*find_payload)(reducer<Exec>&, coder<Exec> const&) = nullptr;
  std::vector<member<Exec>*> members;
  buffer<Exec> joined;  // of a group whose gradients do not lie end to end
  float* gradient = nullptr;
  bool staged = false, committed = false;
  std::size_t section = 0;  // in the current phase's letter; at the commit, in the last one
};

}  // namespace detail
}  // namespace gradpress
