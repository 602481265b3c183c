// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Feedback: an average over time of what was not delivered, kept in one byte an element (LoCo).

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/blend.hpp>
#include <gradpress/kernel/stochastic_int.hpp>

#include <utility>

namespace gradpress {

/// a = g + e; after the step e = beta e + (1 - beta) (a - what was really delivered of a), rounded to 8 bits with a scale
/// for every 256 elements; and 0 after every `reset_every` steps.
///
/// - Shape   e: one byte an element and one float a block, and a spare of both; the coder's buffer of n floats is
///           workspace, and with a beta as much scratch.
/// - Cost    17 bytes an element to form the signal, 5 to keep it; 17 more with a beta.
/// - Rounding  to nearest, off by at most 1/254 of the largest magnitude of the block.
/// - Law     fading: no sum is conserved; what rounding, averaging and resets take away is lost. beta = 0 without resets is
///           `error_feedback` but for the rounding.
/// - Source  Xie, Lin, Toh, Zhou, LoCo: Low-Bit Communication Adaptor for Large-scale Model Training, 2407.04480,
///           algorithm 1. Differs: delivery instead of the compressor's output; a scale a block.
struct loco {
  double beta = 0.8;                 ///< weight of the error so far; in [0, 1)
  std::uint32_t reset_every = 1024;  ///< steps from one empty memory to the next; 0: never

  using family = family::feedback;
  static constexpr std::string_view name = "loco";
  static constexpr auto knobs = std::tuple{knob{"beta", &loco::beta}, knob{"reset_every", &loco::reset_every}};
  static constexpr memory_law law = memory_law::fading;
  static constexpr std::size_t block = 256;

  void check() const {
    if (!(beta >= 0) || !(beta < 1))
      throw configuration_error("loco: beta must lie in [0, 1), it is " + std::to_string(beta));
    if (reset_every > 1u << 24)  // a float counts no further
      throw configuration_error("loco: reset_every must be at most 2^24, it is " + std::to_string(reset_every));
  }

  /// Words of four bytes that hold n elements: the scales, then the codes.
  static constexpr std::size_t words(std::size_t n) noexcept { return (kernel::int_bytes(n, 8, block) + 3) / 4; }

  template <class Exec>
  struct state {
    buffer<Exec> codes, spare;  // bits in place of floats; zeros are zeros
    buffer<Exec> age;           // steps since the memory was empty
    float old_age = 0;
    state(loco const&, step<Exec> const& ctx, shape d)
        : codes(kernel::zeros(ctx.exec, "gradpress::codes", words(d.size()))),
          spare(kernel::zeros(ctx.exec, "gradpress::codes", words(d.size()))),
          age(kernel::zeros(ctx.exec, "gradpress::age", 1)) {}
    template <class V>
    void visit(V&& v) {
      v("codes", codes);
      v("age", age);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    auto const n = g.extent(0);
    kernel::int_decode(ctx.exec, bytes_of(s.codes), n, 8, block, room.data());
    kernel::add(ctx.exec, g.data(), room.data(), room.data(), n);
    return room;
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    auto const n = g.extent(0);
    s.old_age = s.age(0);
    s.age(0) += 1;
    if (reset_every != 0 && s.age(0) >= static_cast<float>(reset_every)) {
      s.age(0) = 0;
      kernel::fill_zero(ctx.exec, s.spare.data(), s.spare.extent(0));
    } else {
      if (beta != 0) {
        auto const e = ctx.scratch(n);
        kernel::int_decode(ctx.exec, bytes_of(s.codes), n, 8, block, e.data());
        kernel::blend(ctx.exec, static_cast<float>(1 - beta), e.data(), rest.data(), rest.data(), n);
      }
      kernel::int_encode(ctx.exec, rest.data(), n, 8, block, false, 0, bytes_of(s.spare));
    }
    std::swap(s.codes, s.spare);
  }
  template <class Rest, class State>
  void undo(Rest&, State& s) const {
    std::swap(s.codes, s.spare);
    std::swap(s.age(0), s.old_age);
  }

 private:
  template <class Buffer>
  static std::byte* bytes_of(Buffer const& words) {
    return reinterpret_cast<std::byte*>(words.data());
  }
};

static_assert(explain_feedback<loco>());

}  // namespace gradpress
