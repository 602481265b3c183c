// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: each rank reduces one chunk of every tensor in float, and tells everybody by another code than the one that
/// it heard.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/downlink.hpp>

namespace gradpress {

/// Compressed scatter-reduce with a code for each way, and a memory at each end.
///
/// - Up        by the method's quantizer and feedback, chunk by chunk.
/// - Down      by `down`, any quantizer that needs no agreement. `memory` says who remembers what it loses:
///             `error_feedback`, the chunk's owner, who adds it to its next mean; none, the owner's own memory, which takes P
///             times the loss, as with scatter_reduce.
/// - Accepts   what scatter_reduce accepts; with a memory on the way down not behind a projector.
/// - Network   (P-1)/P of a message up and of one down, out and in, each by its own code.
/// - Law       sum of signals = P update + sum of memories + P times the growth of the owners' memories.
/// - State     with a memory n/P floats and as much again to go back to; in checkpoints, undone by a rollback.
/// - Units     those of the gradient, at both ends: what is remembered is worth its new learning rate.
/// - Source    Zheng, Huang, Kwok, Communication-Efficient Distributed Blockwise Momentum SGD with Error-Feedback,
///             NeurIPS 2019, algorithm 2, there with one server; the sharded form is that of 1-bit Adam. Differs: no
///             ratio of learning rates on the memories.
template <class Down = unrounded, class Memory = unremembered>
struct two_sided {
  Down down{};      ///< any quantizer that needs no agreement
  Memory memory{};  ///< error_feedback, or no_feedback

  using family = family::exchange;
  static constexpr std::string_view name = "two_sided";
  // Its type written out: clang 19 cannot deduce it of a class template in a precompiled header.
  static constexpr std::tuple<knob<Down, two_sided>, knob<Memory, two_sided>> knobs = {
      knob<Down, two_sided>{"down", &two_sided::down}, knob<Memory, two_sided>{"memory", &two_sided::memory}};
  static constexpr bool chunked = true;
  static constexpr bool keeps_coefficients = remembers<Memory>;
  static_assert(quantizer<Down> && !agreeing<Down>,
                "two_sided: 'down' must be a quantizer that needs no agreement, such as sign or bf16.");
  static_assert(detail::downlink_memory<Memory>, "two_sided: 'memory' must be error_feedback or no_feedback.");

  static constexpr bool accepts(message_kind k) {
    return k.dense && !k.agreed && k.fixed_size && k.combines != combination::max;
  }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(
        accepts(Kind),
        "two_sided: cuts dense messages into chunks; use it without a selector, with a quantizer that needs no "
        "agreement, and with a projector that is linear; parameter_server takes the others.");
    return accepts(Kind);
  }
  void check() const {
    if constexpr (requires { down.check(); }) down.check();
    detail::check_downlink_memory(name, memory);
  }

  template <class Exec>
  using state = detail::downlink_state<Exec, Memory>;

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    detail::downlink<Down, Memory> const way{down};
    int const r = to.rank();
    auto const size = [&](auto const& s, int p) {
      return way.size(s.who->chunk_of(letter<Exec>::context_of(ctx, s), p).second);
    };
    auto const all =
        detail::meet_in_chunks(ctx, to, l, size, [&](auto const& s, auto const& own, auto const& messages, auto out) {
          auto const [from, length] = s.who->chunk_of(own, r);
          auto const mean = own.scratch(length);
          s.who->mean_of(own, messages, mean);
          way.encode(own, r, *s.who, from, mean, out);
        });
    if (all.extent(0) == 0) return;
    detail::expect_floats(ctx, l);
    detail::for_each_chunk(l, to.size(), all, size, [&](std::size_t i, int p, bytes<Exec> m) {
      auto const& s = l.sections[i];
      auto const own = letter<Exec>::context_of(ctx, s);
      auto const [from, length] = s.who->chunk_of(own, p);
      way.decode(own, p, in_bytes<Exec>(m), part(detail::floats_of(l, s), from, length));
    });
  }
};

static_assert(explain_exchange<two_sided<>>());
GRADPRESS_EXCHANGE_ONCE(two_sided<>);

}  // namespace gradpress
