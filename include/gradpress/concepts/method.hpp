// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a reducer asks of a method: a compressor, or something around one.

#include <gradpress/core/kind.hpp>

#include <concepts>
#include <string>

namespace gradpress {

/// What a reducer must know of a method beside the kind of its messages.
struct method_facts {
  bool leads = false;             ///< a phase before, in which one rank tells the support
  bool agrees = false;            ///< a phase before, in which ranks agree on numbers
  bool weighs = false;            ///< the reducer weighs sending it dense
  bool goes_whole = false;        ///< it may decide itself that a step's signal travels whole
  bool keeps_coordinates = true;  ///< may work on several tensors that lie end to end
};

namespace concepts {

/// A method is a value, equal on all ranks, that a reducer can put to work on a tensor.
///
/// | expression                            | result          | means                                                       |
/// |---------------------------------------|-----------------|-------------------------------------------------------------|
/// | `M::kind`                             | `message_kind`  | of its messages, but for those before the values            |
/// | `M::facts`                            | `method_facts`  | which lanes it needs, and where it may be used              |
/// | `m.exchange`                          | an Exchange     | over which its messages go                                  |
/// | `m.text()`                            | string          | method and knobs: what ranks compare                        |
/// | `check_knobs(m)`                      | void            | throws `configuration_error`                                |
/// | `tensor_coder<Exec, M>(m, ctx, dims)` | `coder<Exec>`   | it at work; `current()` is the method with its knobs as they are |
template <class M>
concept method = std::copy_constructible<M> && requires(M const m) {
  { M::kind } -> std::convertible_to<message_kind>;
  { M::facts } -> std::convertible_to<method_facts>;
  { m.text() } -> std::same_as<std::string>;
  m.exchange;
};

}  // namespace concepts

}  // namespace gradpress
