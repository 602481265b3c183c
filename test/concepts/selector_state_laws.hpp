// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Selector that remembers must do. Call `check_selector_state` from its test, beside `check_selector`.

#include "selector_laws.hpp"

#include <map>

namespace gradpress::test {

using kept_fields = std::map<std::string, floats>;
template <class State>
kept_fields fields_of(State& s) {
  kept_fields all;
  s.visit([&](char const* name, buffer<host> b) { all[name] = copied(b); });
  return all;
}
inline bool identical(kept_fields const& a, kept_fields const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](auto const& x, auto const& y) { return x.first == y.first && identical(x.second, y.second); });
}

/// A selector at work on one tensor, step after step.
template <selector S>
struct selector_life {
  S use;
  lone_rank rank;
  state_of<S, host> state;

  selector_life(S const& s, std::size_t n, int who = 0) : use(s), rank(who, 4), state(s, rank.ctx, shape{n, 1}) {}
  selected select(floats const& x) { return run_select(use, x, rank.ctx, state); }
  selected step(floats const& x) {
    auto result = select(x);
    state.commit();
    ++rank.ctx.number;
    return result;
  }
  [[nodiscard]] kept_fields fields() { return fields_of(state); }
};

/// Signals of a step that resemble those of the step before.
inline floats signal_in(std::size_t step, std::size_t n) {
  return plus(heavy_tailed(n, 5), heavy_tailed(n, 100 + step / 3));
}

template <selector S>
void check_selector_state(S const& s) {
  INFO("selector ", std::string(S::name));
  for (std::size_t const n : law_sizes) {
    CAPTURE(n);
    selector_life<S> one(s, n);
    for (std::size_t step = 0; step < 8; ++step) {
      CAPTURE(step);
      auto const x = signal_in(step, n), other = heavy_tailed(n, 900 + step);
      auto const before = one.fields();

      // what was not finite, or was selected in a step that failed, leaves no trace
      if (n > 0) {
        auto bad = x;
        bad[n / 2] = not_finite[step % 3];
        if (answers_for_finiteness<S>) CHECK_FALSE(one.select(bad).finite);
        CHECK(identical(one.fields(), before));
      }
      one.select(other);
      CHECK(identical(one.fields(), before));

      // whoever has the fields goes on alike
      selector_life<S> loaded(s, n);
      loaded.rank.ctx.number = one.rank.ctx.number;
      loaded.state.visit(
          [&](char const* name, buffer<host> b) { std::copy_n(before.at(name).data(), b.extent(0), b.data()); });
      auto const first = one.step(x).indices;
      auto const after = one.fields();
      CHECK(loaded.step(x).indices == first);
      CHECK(identical(loaded.fields(), after));

      // a step that is taken back, and made again
      one.state.undo();
      --one.rank.ctx.number;
      CHECK(identical(one.fields(), before));

      // the fused hooks select the same, and remember the same
      each_fused_hook(
          s,
          [&](auto const& fused) {
            floats const g = signal_in(step + 1, n);
            floats e(n), a(n), values(s.max_kept(n));
            for (std::size_t i = 0; i < n; ++i) e[i] = x[i] - g[i];
            auto const sum = plus(g, e);
            selection<host> kept;
            kept.indices = buffer<host, index_t>("kept", s.max_kept(n));
            CHECK(fused(one.rank.ctx, over(g), over(std::as_const(e)), over(a), kept, over(values)));
            one.rank.release();
            one.state.commit();
            auto const by_hook = one.fields();
            one.state.undo();
            auto const expected = one.select(sum).indices;
            one.state.commit();
            CHECK(std::vector<index_t>(kept.indices.data(), kept.indices.data() + kept.count) == expected);
            CHECK(identical(a, sum));
            for (std::size_t i = 0; i < kept.count; ++i) CHECK(bits_of(values[i]) == bits_of(sum[kept.indices(i)]));
            CHECK(identical(one.fields(), by_hook));
            one.state.undo();
          },
          &one.state);

      CHECK(one.step(x).indices == first);
      CHECK(identical(one.fields(), after));
    }
  }
}

}  // namespace gradpress::test
