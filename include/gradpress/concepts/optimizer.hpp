// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What an Optimizer must provide, and the sentence a user reads when it does not: a method that owns learning rate,
/// momentum, weight decay, or the point at which the next gradient is taken.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/state.hpp>

#include <string_view>

namespace gradpress {

namespace family {
struct optimizer {};
}  // namespace family

/// Which step, and the key of what ranks draw alike.
struct training_step {
  std::uint64_t number = 0, seed = 0;
};

/// Which of a parameter's ways through the reducer: the user's first or second method, or the plain mean.
enum class channel { first, second, mean };

/// One parameter in one call of a worker.
template <class Exec>
struct turn {
  Exec exec;
  std::uint64_t step = 0;
  int gradient = 0, of = 1;  ///< number `gradient` of `of` in this step
  view<Exec> parameters;     ///< the user's memory
  buffer<Exec> residual;  ///< of the first channel, if the method reads it: what is owed; empty where nothing is kept
};

/// What a method asks of the compressor's memory.
enum class memory_need {
  none,      ///< must have none: the method keeps the estimate itself
  residual,  ///< must tell what was not delivered, as `error_feedback` does; lossless compressors need none
  momentum,  ///< must run the momentum itself, as `momentum_correction` does; lossless compressors need none
  any
};

namespace concepts {
template <class M>
concept has_rate = requires(M const m) {
  { m.learning_rate } -> std::convertible_to<double>;
};
template <class M>
concept has_worker = requires {
  typename M::template worker<probe>;
};
template <class W, class M>
concept has_take = requires(W w, M const m, turn<probe> const& t, view<probe> g, in<probe> update) {
  { w.take(m, t, g) } -> std::same_as<float*>;
  w.commit(m, t, update);
};
template <class W, class M>
concept has_point = requires(W w, M const m, turn<probe> const& t) {
  w.point(m, t);
  w.undo();
};
}  // namespace concepts

/// An Optimizer is what happens around the exchange: a value with knobs, and a worker for each parameter.
///
/// | expression                      | result          | means                                                      |
/// |---------------------------------|-----------------|------------------------------------------------------------|
/// | `M::family`, `M::name`          |                 | `family::optimizer`; in the text that ranks compare        |
/// | `M::knobs`                      | tuple           | as of any policy; `driver.set` and `driver.follow` change them |
/// | `m.learning_rate`               | double          | one of them                                                |
/// | `M::needs`                      | memory_need     | optional: of the compressor; `any`                         |
/// | `M::reads_residual`             | bool            | optional: whether `turn::residual` is filled in            |
/// | `M::compressors`                | int             | optional: how many it uses, 1 or 2                         |
/// | `M::averages`                   | bool            | optional: it uses `channel::mean`                          |
/// | `M::returns_mean`               | bool            | optional, with `averages`: its model is a mean over ranks  |
/// | `m.check()`                     | void            | throws `configuration_error` about a knob out of range     |
/// | `m.check_memory(feedback)`      | void            | optional: the same about the memory of a compressor        |
/// | `m.gradients(step)`             | int             | optional: how many this step takes; 1                      |
/// | `m.samples(step)`               | int             | optional: of how many samples; one a gradient, or one for all |
/// | `m.way(step)`                   | channel         | optional: by which the step travels                        |
/// | `m.upkeep(step)`                | bool            | optional: is another exchange due before this step?        |
/// | `M::upkeep_way`                 | channel         | with it: by which that travels                             |
/// | `typename M::worker<Exec>`      |                 | made from (m, exec, parameters, lossless)                  |
///
/// Of a worker w, with t a `turn`:
///
/// | expression                      | result | means                                                               |
/// |---------------------------------|--------|---------------------------------------------------------------------|
/// | `w.point(m, t)`                 | void   | parameters become the point of gradient `t.gradient` of this step   |
/// | `w.take(m, t, g)`               | float* | takes a gradient, whose memory it may use; the last returns what to exchange, others null. Tentative state only |
/// | `w.commit(m, t, update)`        | void   | the step stands: moves on; parameters become the next point          |
/// | `w.undo()`                      | void   | takes the last commit back, bit for bit; `point` follows             |
/// | `w.visit(v)`                    | void   | `v(name, data, n)` for everything a checkpoint keeps                 |
/// | `w.shared()`                    | float* | what is equal on all ranks; null: the user's parameters              |
/// | `w.ask_model(m, t)`             | float* | with `returns_mean`: what must be averaged for the model, null if nothing |
/// | `w.model(m, t, mean)`           | void   | optional: parameters become the model, by that mean or null          |
/// | `w.ask_upkeep(m, t)`            | float* | with `m.upkeep`: what to exchange, null if nothing                   |
/// | `w.upkeep(m, t, got, rest)`     | void   | with it: what came of it, and what was not delivered, if that travels by `second` |
template <class M>
concept optimizer = std::semiregular<M> && concepts::has_name<M> && concepts::has_rate<M> && concepts::has_worker<M> &&
    concepts::has_take<typename M::template worker<concepts::probe>, M> &&
    concepts::has_point<typename M::template worker<concepts::probe>, M>;

/// Fails to compile with one plain sentence about the first thing that M lacks.
template <class M>
consteval bool explain_optimizer() {
  if constexpr (!std::semiregular<M>)
    static_assert(always_false<M>, "Optimizer: must be default-constructible and copyable; it is stored by value.");
  else if constexpr (!concepts::has_name<M>)
    static_assert(always_false<M>, "Optimizer: needs 'static constexpr std::string_view name'.");
  else if constexpr (!concepts::has_rate<M>)
    static_assert(always_false<M>, "Optimizer: needs a knob 'double learning_rate'.");
  else if constexpr (!concepts::has_worker<M>)
    static_assert(always_false<M>, "Optimizer: needs 'template <class Exec> class worker', one for each parameter.");
  else if constexpr (!concepts::has_take<typename M::template worker<concepts::probe>, M>)
    static_assert(always_false<M>,
                  "Optimizer: its worker needs 'float* take(m, turn, gradient)' and 'void commit(m, turn, update)'.");
  else if constexpr (!concepts::has_point<typename M::template worker<concepts::probe>, M>)
    static_assert(always_false<M>, "Optimizer: its worker needs 'void point(m, turn)' and 'void undo()'.");
  return optimizer<M>;
}

}  // namespace gradpress
