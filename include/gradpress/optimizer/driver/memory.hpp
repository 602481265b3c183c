// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Does a compressor's memory suit an optimizer? What the optimizer says of itself, and what the compressor keeps.

#include <gradpress/compressor/compose.hpp>
#include <gradpress/concepts/feedback.hpp>
#include <gradpress/concepts/optimizer.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace gradpress {

/// The method of a parameter that is not compressed.
inline constexpr auto uncompressed = compress_with();

namespace detail {
/// Exchanges may lose something, too, so no more than this one is known to lose nothing.
template <class C>
inline constexpr bool is_lossless = false;
template <>
inline constexpr bool is_lossless<std::remove_const_t<decltype(uncompressed)>> = true;

/// What a compressor remembers by; of any other method, nothing that it tells of.
template <class C>
struct memory_of {
  using type = no_feedback;
};
template <class Pr, class S, class Q, class F, class X, class I>
struct memory_of<compressor<Pr, S, Q, F, X, I>> {
  using type = F;
};
/// The signal is the gradient plus what was not delivered.
template <class F>
concept keeps_residual = remembers<F> && requires(F const& f, state_of<F, concepts::probe>& s) {
  f.addend(s);
};

/// It runs a momentum of its own.
template <class F>
concept keeps_momentum = remembers<F> && requires(F const& f) {
  { f.momentum } -> std::convertible_to<double>;
};

template <class M>
constexpr memory_need need_of() {
  if constexpr (requires { M::needs; })
    return M::needs;
  else
    return memory_need::any;
}
/// Reading what is owed settles it, which costs; who does not need it does not ask.
template <class M>
constexpr bool reads_residual_of() {
  if constexpr (requires { M::reads_residual; })
    return M::reads_residual;
  else
    return need_of<M>() == memory_need::residual;
}
template <class M>
constexpr std::size_t compressors_of() {
  if constexpr (requires { M::compressors; })
    return static_cast<std::size_t>(M::compressors);
  else
    return 1;
}
template <class M>
constexpr bool averages_of() {
  if constexpr (requires { M::averages; }) return M::averages;
  return false;
}

/// Is C's memory what an optimizer needs?
template <class C>
constexpr bool meets(memory_need need) {
  using F = typename memory_of<C>::type;
  if (need == memory_need::none) return !remembers<F>;
  if (need == memory_need::any || is_lossless<C>) return true;
  return need == memory_need::residual ? keeps_residual<F> : keeps_momentum<F>;
}
/// A method that is known at run time alone, such as a text: it says itself whether it suits M, and whether it loses
/// anything, and `c.add(name, dims)` adds a tensor of it to the reducer that it belongs to.
template <class C, class M>
concept known_at_run_time = requires(C const c, M const& m) {
  c.check_for(m);
  { c.lossless() } -> std::same_as<bool>;
};

/// Fails to compile with one plain sentence if C does not suit M.
template <class M, class C>
consteval bool explain_memory() {
  constexpr bool later = known_at_run_time<C, M>;
  static_assert(later || need_of<M>() != memory_need::residual || meets<C>(memory_need::residual),
                "train_with: this optimizer is built on what was not delivered; compose its compressor with "
                "error_feedback{}, or leave the parameter uncompressed.");
  static_assert(
      later || need_of<M>() != memory_need::momentum || meets<C>(memory_need::momentum),
      "train_with: this optimizer leaves the momentum to the compressor's memory; compose its compressor with "
      "momentum_correction{}, or leave the parameter uncompressed.");
  static_assert(
      later || need_of<M>() != memory_need::none || meets<C>(memory_need::none),
      "train_with: this optimizer keeps the estimate of the gradient itself; compose its compressor without a "
      "feedback.");
  return true;
}
}  // namespace detail

}  // namespace gradpress
