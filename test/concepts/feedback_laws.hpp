// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Feedback must do. Call `check_feedback` from the test of a feedback.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/kernel/forming.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <map>
#include <string>

namespace gradpress::test {

/// One rank's memory of one tensor, driven as the coder drives it.
template <feedback F>
struct remembering {
  lone_rank r;
  F use;
  std::size_t n;
  state_of<F, host> state;
  buffer<host> rest;

  static constexpr bool has_state = !std::same_as<state_of<F, host>, stateless>;

  remembering(F const& f, std::size_t size) : use(f), n(size), state(f, r.ctx, shape{size, 1}), rest("rest", size) {}

  /// The signal for gradient g, left in `rest`.
  floats compensate(floats const& g) {
    in<host> const a = use.compensate(r.ctx, over(g), state, view<host>(rest));
    r.release();
    CHECK(a.extent(0) == n);
    if constexpr (remembers<F>)
      CHECK(a.data() == rest.data());
    else if constexpr (has_state)
      CHECK((a.data() != g.data() && a.data() != rest.data()));  // there is no room: a tentative field
    else
      CHECK(a.data() == g.data());
    return copied(a);
  }
  /// The same signal, made in pieces: out of order, and a few elements twice. Leaves it, and what else it makes, for
  /// `commit`.
  floats form(floats const& g) {
    auto const form = use.form(r.ctx, over(g), state);
    kernel::forming const make(form);
    floats a(n, 77.f);
    auto const piece = [&](std::size_t from, std::size_t to) {
      floats out(to - from + 1, 55.f);
      make(from, to, out.data());
      CHECK(out.back() == 55.f);
      std::copy_n(out.data(), to - from, a.data() + from);
    };
    piece(n / 3, n);
    piece(0, n / 3);
    piece(n / 4, n / 2);
    r.release();
    return a;
  }
  /// The step stands: `delivered` of the signal arrived, and the mean of all ranks is `mean`. What the update becomes.
  floats commit(floats const& g, floats const& delivered, floats const& mean) {
    auto update = mean;
    if constexpr (remembers<F>) {
      for (std::size_t i = 0; i < n; ++i) rest(i) -= delivered[i];
      use.keep(r.ctx, over(g), rest, state);
    }
    if constexpr (requires { use.apply(r.ctx, over(update), state); }) use.apply(r.ctx, over(update), state);
    r.release();
    return update;
  }
  std::map<std::string, floats> kept() {
    std::map<std::string, floats> all;
    state.visit([&](char const* name, buffer<host> b) { all[name] = copied(b); });
    return all;
  }
};

/// Bits are compared: some memories keep others in place of floats.
inline bool same_state(std::map<std::string, floats> const& a, std::map<std::string, floats> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](auto const& x, auto const& y) { return x.first == y.first && identical(x.second, y.second); });
}

/// What of a vector a lossy method might deliver: every third entry, and a little of the others.
inline floats some_of(floats const& a) {
  auto part = a;
  for (std::size_t i = 0; i < part.size(); ++i) part[i] *= i % 3 == 0 ? 1.f : 0.25f;
  return part;
}

/// How a memory differs from the plainest of its law.
struct memory_factors {
  float first = 1;  ///< the first signal, from an empty memory, is this times the gradient
  float share = 1;  ///< a mirrored memory takes on this much of what was delivered
  float kept = 1;   ///< an additive memory keeps this much of what was not delivered
};

template <feedback F>
void check_feedback(F const& f, memory_factors const& factors = {}) {
  INFO("feedback ", std::string(F::name));
  for (std::size_t const n : law_sizes) {
    CAPTURE(n);
    remembering<F> m(f, n);
    for (auto const& [name, values] : m.kept()) {
      CAPTURE(name);
      CHECK(identical(values, floats(values.size())));  // every memory starts empty
    }
    CHECK((m.kept().size() > 0) == m.has_state);
    CHECK((m.has_state || !remembers<F>));
    for (std::uint64_t s = 0; s < 4; ++s) {
      auto const g = heavy_tailed(n, s + 1);
      auto const before = m.kept();
      auto const a = m.compensate(g);
      CHECK(same_state(m.kept(), before));  // nothing moves before the commit
      CHECK(identical(m.compensate(g), a));
      if constexpr (requires { m.use.addend(m.state); })
        CHECK(identical(a, plus(g, copied(in<host>(m.use.addend(m.state))))));
      if constexpr (requires { m.use.form(m.r.ctx, over(g), m.state); }) CHECK(identical(m.form(g), a));
      if (s == 0 && factors.first == 1.f)
        CHECK(identical(plus(a, floats(n)), plus(g, floats(n))));  // empty: the gradient itself
      else if (s == 0)
        for (std::size_t i = 0; i < n; ++i) CHECK(a[i] == doctest::Approx(factors.first * g[i]).epsilon(1e-6));
      auto const delivered = some_of(a);
      auto const update = m.commit(g, delivered, delivered);
      auto const after = m.kept();
      if (F::law == memory_law::none) CHECK(identical(update, delivered));
      if (F::law == memory_law::additive) {
        CHECK(identical(update, delivered));
        auto const& e = after.at("residual");
        for (std::size_t i = 0; i < n; ++i) {
          float const left = a[i] - delivered[i];
          CHECK(bits_of(e[i]) == bits_of(factors.kept == 1.f ? left : factors.kept * left));
        }
      }
      if (F::law == memory_law::mirrored) {
        CHECK(identical(update, plus(before.at("mirror"), delivered)));
        if (factors.share == 1.f) CHECK(identical(update, after.at("mirror")));
        for (std::size_t i = 0; i < n; ++i) {  // one rank alone: the mirror is what it keeps
          CHECK(after.at("mine")[i] == doctest::Approx(after.at("mirror")[i]).epsilon(1e-5));
          CHECK(after.at("mine")[i] ==
                doctest::Approx(before.at("mine")[i] + factors.share * delivered[i]).epsilon(1e-5));
        }
      }
      if constexpr (requires { m.use.undo(m.rest, m.state); }) {
        m.use.undo(m.rest, m.state);
        CHECK(same_state(m.kept(), before));
        CHECK(identical(m.compensate(g), a));
        CHECK(identical(m.commit(g, delivered, delivered), update));
        CHECK(same_state(m.kept(), after));
      } else {
        CHECK_FALSE(m.has_state);
      }
    }
  }
}

}  // namespace gradpress::test
