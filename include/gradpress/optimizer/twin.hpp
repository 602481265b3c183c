// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What workers are made of: a vector and its spare, and the refusal of knobs out of range.

#include <gradpress/concepts/optimizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/core/types.hpp>

#include <cmath>
#include <string>
#include <string_view>
#include <utility>

namespace gradpress {

/// A vector as it is, and what a step writes beside it: a commit and an undo are a swap.
template <class Exec>
struct twin {
  buffer<Exec> now, spare;
  void turn() { std::swap(now, spare); }
};

namespace detail {

inline void check_knob(std::string_view method, bool legal, char const* knob, char const* range, double value) {
  if (!legal)
    throw configuration_error(std::string(method) + ": " + knob + " must " + range + ", it is " +
                              std::to_string(value));
}
/// A learning rate: finite and not negative. 0 is legal: it freezes the model.
inline void check_learning_rate(std::string_view method, double rate) {
  check_knob(method, std::isfinite(rate) && rate >= 0, "learning_rate", "be finite and not negative", rate);
}
inline void check_momentum(std::string_view method, double momentum) {
  check_knob(method, momentum >= 0 && momentum < 1, "momentum", "lie in [0, 1)", momentum);
}
inline void check_decay(std::string_view method, double decay) {
  check_knob(method, std::isfinite(decay) && decay >= 0, "weight_decay", "be finite and not negative", decay);
}

}  // namespace detail

}  // namespace gradpress
