// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What an Exchange must provide, and the sentence a user reads when it does not.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/letter.hpp>
#include <gradpress/core/transport.hpp>

namespace gradpress {

namespace concepts {
template <class X>
concept has_accepts = requires {
  { X::accepts(message_kind{}) } -> std::same_as<bool>;
};
template <class X>
concept has_run = requires(X const x, step<probe> const& ctx, transport& t, letter<probe>& l) {
  x.run(ctx, t, l);
};
}  // namespace concepts

/// An exchange that gives each rank a chunk of every tensor to reduce (its messages are encoded chunk by chunk).
template <class X>
inline constexpr bool chunks_tensors = requires {
  requires X::chunked;
};

/// An exchange that has several ways, and for which the reducer weighs them and sending dense against one another.
template <class X>
inline constexpr bool weighs_dense = requires {
  requires X::weighs;
};

/// An exchange that remembers coefficients from one step to the next: not behind a projector, where they mean something
/// else in each step.
template <class X>
inline constexpr bool keeps_coefficients = requires {
  requires X::keeps_coefficients;
};

/// Is the update the mean of what the ranks sent, but for what memories are told of?
template <class X>
inline constexpr bool delivers_mean = !requires {
  requires !X::delivers_mean;
};

/// An Exchange decides how messages meet.
///
/// | expression                  | result | means                                                                         |
/// |-----------------------------|--------|-------------------------------------------------------------------------------|
/// | `typename X::family`, `X::name` |    | `family::exchange`; in the text form and the digest                           |
/// | `X::accepts(kind)`          | bool   | constexpr: may messages of this kind meet here?                               |
/// | `X::explain<Kind>()`        | bool   | optional, consteval: one plain sentence when they may not                     |
/// | `X::chunked`                | bool   | optional: true if tensors are cut into one chunk a rank                       |
/// | `X::weighs`                 | bool   | optional: true if it has `ways`, names of ways to run that give the same sum, of which `letter::way` says one, and `forecast(way, link, load)` in seconds; see automatic |
/// | `X::state<Exec>`            | type   | optional: what it keeps between steps; `commit()` when one stands, `undo()` at a rollback |
/// | `X::keeps_coefficients`     | bool   | optional: true if its state is about coefficients; its constructor's shape is then that of those which this rank reduces: its chunk, or all if `x.reduces(rank)`, or none |
/// | `X::delivers_mean`          | bool   | optional: false if the update is something else (a vote); then no memory that counts on the mean |
/// | `x.check_world(P)`          | void   | optional: throws `configuration_error` for a number of ranks that does not suit it |
/// | `x.run(ctx, transport, letter)` | void | sends the letter and delivers what arrived; a bad message becomes a complaint, never an exception, since the other ranks are waiting |
template <class X>
concept exchange = std::semiregular<X> && concepts::has_name<X> && concepts::has_accepts<X> && concepts::has_run<X>;

/// Fails to compile with one plain sentence about the first thing that X lacks.
template <class X>
consteval bool explain_exchange() {
  if constexpr (!std::semiregular<X>)
    static_assert(always_false<X>, "Exchange: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<X>)
    static_assert(always_false<X>, "Exchange: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_accepts<X>)
    static_assert(always_false<X>, "Exchange: needs 'static constexpr bool accepts(message_kind)'.");
  else if constexpr (!concepts::has_run<X>)
    static_assert(always_false<X>,
                  "Exchange: needs 'void run(ctx, transport&, letter&) const' for any execution space.");
  return exchange<X>;
}

/// Fails to compile with one plain sentence if X does not accept Kind.
template <class X, message_kind Kind>
consteval bool explain_pair() {
  if constexpr (requires { X::template explain<Kind>(); })
    return X::template explain<Kind>();
  else
    static_assert(X::accepts(Kind), "Exchange: it does not accept the messages of this composition; use 'by_kind'.");
  return X::accepts(Kind);
}

}  // namespace gradpress
