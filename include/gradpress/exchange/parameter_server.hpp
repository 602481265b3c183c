// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: every message goes to one rank, which forms the mean and tells everybody.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/exchange/downlink.hpp>
#include <gradpress/exchange/sum_letter.hpp>

namespace gradpress {

/// Gather to a root, mean in float there, then a broadcast by a code of its own.
///
/// - Up        by the method's own policies. A rank that has little to say sends little: its letter goes to the root, as it
///             is, and to nobody else.
/// - Down      all coefficients by `down`, any quantizer that needs no agreement. `memory` says who remembers what it
///             loses: `error_feedback`, the root, which adds it to its next mean; none, the root's own memory, which takes P
///             times the loss.
/// - Accepts   every kind of message, of fixed or variable size; a projector must be linear, and with a memory on the way
///             down the identity.
/// - Network   each rank sends its message and receives the codes of n; the root receives P - 1 messages and sends the
///             codes once or P - 1 times, as the communicator's all_gather_v does it. Up by send_recv where that is offered,
///             else by a gather that is padded to the longest message, and then silence saves nothing.
/// - Law       sum of signals = P update + sum of memories + P times the growth of the root's memory.
/// - Order     the root adds in rank order, in float; everybody, the root too, uses what the codes decode to.
/// - State     at the root, with a memory n floats and as much again to go back to; in checkpoints, undone by a rollback.
/// - Source    Zheng, Huang, Kwok, Communication-Efficient Distributed Blockwise Momentum SGD with Error-Feedback,
///             NeurIPS 2019, algorithm 1. Differs: no ratio of learning rates on the memories.
template <class Down = unrounded, class Memory = unremembered>
struct parameter_server {
  Down down{};      ///< any quantizer that needs no agreement
  Memory memory{};  ///< error_feedback, or no_feedback
  int root = 0;     ///< the rank that reduces

  using family = family::exchange;
  static constexpr std::string_view name = "parameter_server";
  // Its type written out: clang 19 cannot deduce it of a class template in a precompiled header.
  static constexpr std::tuple<knob<Down, parameter_server>, knob<Memory, parameter_server>, knob<int, parameter_server>>
      knobs = {knob<Down, parameter_server>{"down", &parameter_server::down},
               knob<Memory, parameter_server>{"memory", &parameter_server::memory},
               knob<int, parameter_server>{"root", &parameter_server::root}};
  static constexpr bool keeps_coefficients = remembers<Memory>;
  static_assert(quantizer<Down> && !agreeing<Down>,
                "parameter_server: 'down' must be a quantizer that needs no agreement, such as sign or bf16.");
  static_assert(detail::downlink_memory<Memory>, "parameter_server: 'memory' must be error_feedback or no_feedback.");

  static constexpr bool accepts(message_kind k) { return k.linear && k.combines != combination::max; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(
        accepts(Kind),
        "parameter_server: averages coefficients at one rank; use a projector that is linear, such as low_rank.");
    return accepts(Kind);
  }
  void check() const {
    if (root < 0) throw configuration_error("parameter_server: root is a rank, it is " + std::to_string(root));
    if constexpr (requires { down.check(); }) down.check();
    detail::check_downlink_memory(name, memory);
  }
  void check_world(int P) const {
    if (root >= P)
      throw configuration_error("parameter_server: root is " + std::to_string(root) + ", and there are " +
                                std::to_string(P) + " ranks");
  }
  [[nodiscard]] bool reduces(int rank) const { return rank == root; }

  template <class Exec>
  using state = detail::downlink_state<Exec, Memory>;

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    detail::downlink<Down, Memory> const way{down};
    auto const P = static_cast<std::size_t>(to.size());
    bool const here = to.rank() == root;
    auto const size = [&](auto const& s) { return way.size(s.who->length(letter<Exec>::context_of(ctx, s))); };
    std::size_t block = sizeof(letter_header), longest = 0;
    for (auto const& s : l.sections) block += size(s), longest += s.who->capacity(ctx.phase, to.size());
    auto const all = collect(ctx, to, l, longest);
    auto const mine = l.outbox(block);
    if (here) {
      reduce(ctx, l, way, all, size, mine);
      letter<Exec>::seal(ctx, mine);
      l.sent += block;
    }
    // The root's message alone: what a broadcast is to those that gather.
    l.sizes.assign(P, 0);
    l.sizes[static_cast<std::size_t>(root)] = block;
    auto const arrived = l.inbox(block);
    to.all_gather_v({mine.data(), here ? block : 0}, l.sizes, {arrived.data(), block});
    ++l.messages;
    l.arrived.clear();
    if (!l.opens(ctx, arrived, root)) return;
    detail::expect_floats(ctx, l);
    std::size_t at = sizeof(letter_header);
    for (auto const& s : l.sections) {
      auto const m = part(arrived, at, size(s));
      way.decode(letter<Exec>::context_of(ctx, s), root, in_bytes<Exec>(m), detail::floats_of(l, s));
      at += m.extent(0);
    }
  }

 private:
  /// This rank's letter to the root; there, the letters of all, of l.sizes, end to end in the inbox. None of their
  /// sections' bytes are more than `longest`.
  template <class Exec>
  bytes<Exec> collect(step<Exec> const& ctx, transport& to, letter<Exec>& l, std::size_t longest) const {
    auto const P = static_cast<std::size_t>(to.size()), r = static_cast<std::size_t>(to.rank()),
               at = static_cast<std::size_t>(root);
    bool const here = r == at;
    auto const mine = behind_header(l);
    auto const own = mine.extent(0);
    letter<Exec>::seal(ctx, mine);
    auto const leave = ctx.template scratch<std::size_t>(P), arrive = ctx.template scratch<std::size_t>(P);
    auto const gather = [&](std::span<std::byte const> out, std::span<std::byte> in) {
      to.all_to_all_v(out, {leave.data(), P}, in, {arrive.data(), P});
      if (!here) l.sent += out.size();
      ++l.messages;
    };
    for (std::size_t p = 0; p < P; ++p) leave(p) = p == at ? own : 0, arrive(p) = here ? own : 0;
    if (!l.kind.fixed_size) {
      auto const announced = detail::announcement::of(own);
      auto const theirs = ctx.template scratch<detail::announcement>(here ? P : 0);
      leave(at) = sizeof announced;
      for (std::size_t p = 0; p < P; ++p) arrive(p) = here ? sizeof announced : 0;
      gather(std::as_bytes(std::span(&announced, 1)),
             std::as_writable_bytes(std::span(theirs.data(), theirs.extent(0))));
      auto const most = sizeof(letter_header) + l.table_bytes() + longest;
      leave(at) = own;
      for (std::size_t p = 0; p < P; ++p) arrive(p) = here ? theirs(p).opened(most, p) : 0;
    }
    l.sizes.assign(arrive.data(), arrive.data() + P);
    std::size_t total = 0;
    for (auto const s : l.sizes) total += s;
    auto const all = l.inbox(total);
    gather({mine.data(), own}, {all.data(), total});
    return all;
  }
  /// The whole letter; sums, which have no header of their own, are copied behind one.
  template <class Exec>
  static bytes<Exec> behind_header(letter<Exec>& l) {
    auto const mine = l.mine();
    if (l.header_bytes() > 0) return mine;
    auto const out = l.outbox(sizeof(letter_header) + mine.extent(0));
    if (mine.extent(0) > 0) std::memcpy(out.data() + sizeof(letter_header), mine.data(), mine.extent(0));
    return out;
  }

  /// At the root: what it sends down. A tensor that cannot be reduced travels as zeros, and the step fails.
  template <class Exec, class Size>
  void reduce(step<Exec> const& ctx, letter<Exec>& l, detail::downlink<Down, Memory> const& way, bytes<Exec> all,
              Size const& size, bytes<Exec> out) const {
    ctx.memory->release();
    clear(out.data(), out.extent(0));
    if (!detail::deliver_letters(ctx, l, all)) return;
    std::size_t at = sizeof(letter_header);
    for (auto const& s : l.sections) {
      auto const own = letter<Exec>::context_of(ctx, s);
      auto const room = part(out, at, size(s));
      bool const good = detail::try_section(ctx, l, "at the root: ", [&] {
        auto const mean = own.scratch(s.who->length(own));
        s.who->mean_of(own, std::span(std::as_const(l.arrived)).subspan(s.first, s.count), mean);
        way.encode(own, root, *s.who, 0, mean, room);
      });
      if (!good) clear(room.data(), room.extent(0));
      at += room.extent(0);
    }
  }
};

static_assert(explain_exchange<parameter_server<>>());
GRADPRESS_EXCHANGE_ONCE(parameter_server<>);

}  // namespace gradpress
