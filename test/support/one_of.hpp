// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A memory, and an exchange, that is one of several when the program runs: compiled once for all of them.

#include <gradpress/concepts/exchange.hpp>
#include <gradpress/concepts/feedback.hpp>

#include <concepts>
#include <string>
#include <tuple>
#include <variant>

namespace gradpress::test {

/// Memories that all remember what was delivered, or all do not. Optional hooks fall back to what they stand for.
template <class... F>
struct memory_of {
  std::variant<F...> use;

  static constexpr bool has_memory = (remembers<F> || ...);
  static_assert(has_memory == (remembers<F> && ...));

  using family = gradpress::family::feedback;
  static constexpr std::string_view name = "memory_of";
  /// The coder only asks whether there is something to keep.
  static constexpr memory_law law = has_memory ? memory_law::additive : memory_law::none;
  static constexpr bool keeps_gradient = true;

  void check() const {
    std::visit(
        [](auto const& f) {
          if constexpr (requires { f.check(); }) f.check();
        },
        use);
  }

  template <class Exec>
  struct state {
    std::variant<state_of<F, Exec>...> all;
    state(memory_of const& m, step<Exec> const& ctx, shape d)
        : all(std::visit(
              [&]<class G>(G const& f) {
                return std::variant<state_of<F, Exec>...>(std::in_place_type<state_of<G, Exec>>, f, ctx, d);
              },
              m.use)) {}
    template <class V>
    void visit(V&& v) {
      std::visit([&](auto& s) { s.visit(v); }, all);
    }
    template <class G>
    state_of<G, Exec>& of() {
      return std::get<state_of<G, Exec>>(all);
    }
  };

  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const& ctx, in<Exec> g, State& s, view<Exec> room) const {
    return std::visit([&]<class G>(G const& f) { return f.compensate(ctx, g, s.template of<G>(), room); }, use);
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    std::visit([&]<class G>(G const& f) { f.keep(ctx, g, rest, s.template of<G>()); }, use);
  }
  template <class Exec, class State>
  void keep_at(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, in<Exec, index_t> at, State& s) const {
    std::visit(
        [&]<class G>(G const& f) {
          auto& mine = s.template of<G>();
          if constexpr (requires { f.keep_at(ctx, g, rest, at, mine); })
            f.keep_at(ctx, g, rest, at, mine);
          else
            f.keep(ctx, g, rest, mine);
        },
        use);
  }
  template <class Exec, class State>
  void apply(step<Exec> const& ctx, view<Exec> update, State& s) const {
    std::visit(
        [&]<class G>(G const& f) {
          auto& mine = s.template of<G>();
          if constexpr (requires { f.apply(ctx, update, mine); }) f.apply(ctx, update, mine);
        },
        use);
  }
  template <class Rest, class State>
  void undo(Rest& rest, State& s) const {
    std::visit(
        [&]<class G>(G const& f) {
          auto& mine = s.template of<G>();
          if constexpr (requires { f.undo(rest, mine); }) f.undo(rest, mine);
        },
        use);
  }
};

/// Exchanges without a state that all cut tensors into chunks, or all do not. It accepts everything: ask `may_carry`.
template <class... X>
struct way_of {
  std::variant<X...> use;
  int which = 0;  ///< so that two of them are two lanes

  way_of() = default;
  template <class Y>
  requires(std::same_as<Y, X> || ...) way_of(Y const& x) : use(x), which(static_cast<int>(use.index())) {}

  static_assert((!keeps_coefficients<X> && ...) && (!weighs_dense<X> && ...) && (delivers_mean<X> && ...));
  static_assert((chunks_tensors<X> || ...) == (chunks_tensors<X> && ...));

  using family = gradpress::family::exchange;
  static constexpr std::string_view name = "way_of";
  static constexpr auto knobs = std::tuple{knob{"which", &way_of::which}};
  static constexpr bool chunked = (chunks_tensors<X> && ...);

  static constexpr bool accepts(message_kind) { return true; }
  [[nodiscard]] bool may_carry(message_kind k) const {
    return std::visit([&]<class Y>(Y const&) { return Y::accepts(k); }, use);
  }
  [[nodiscard]] std::string text() const {
    return std::visit([](auto const& x) { return describe(x); }, use);
  }
  void check() const {
    std::visit(
        [](auto const& x) {
          if constexpr (requires { x.check(); }) x.check();
        },
        use);
  }
  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    std::visit([&](auto const& x) { x.run(ctx, to, l); }, use);
  }
};

}  // namespace gradpress::test
