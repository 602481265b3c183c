// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What gradpress throws. Every message names the tensor (where one is at fault), the rank and the remedy.
/// After any of these, gradients, memories and factors are as they were before the call.

#include <stdexcept>

namespace gradpress {

struct error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Ranks were set up differently, or a call does not fit what was registered.
struct configuration_error : error {
  using error::error;
};
/// A message is truncated, mutated, or of another step.
struct payload_error : error {
  using error::error;
};
/// A gradient, or gradient plus memory, holds NaN or infinity.
struct non_finite_error : error {
  using error::error;
};
/// The transport failed; what it said is part of the message.
struct communicator_error : error {
  using error::error;
};
/// A checkpoint does not fit this reducer, or is damaged.
struct state_error : error {
  using error::error;
};

}  // namespace gradpress
