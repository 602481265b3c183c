// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Selector must do, on any data. Call `check_selector` from the test of a selector.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/kernel/forming.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <functional>
#include <numeric>
#include <string>

namespace gradpress::test {

struct selected {
  std::vector<index_t> indices;
  floats values;  ///< of selectors that write what is sent
  bool finite = true;
};

/// Runs s as the coder does, with what it keeps, with room for max_kept(n) indices and a watched margin behind it.
template <selector S>
selected run_select(S const& policy, floats const& x, step<host> const& ctx, state_of<S, host>& state) {
  auto const s = at_work<S, host>(policy, state);
  constexpr index_t pattern = 0x5a5a5a5a;
  constexpr std::size_t margin = 64;
  auto const room = policy.max_kept(x.size());
  selection<host> kept;
  kept.indices = buffer<host, index_t>("kept", room + margin);
  std::fill_n(kept.indices.data(), room + margin, pattern);
  selected result;
  guarded<float> values(writes_values<S> ? room : 0);
  if constexpr (wants_fresh<S>)
    result.finite = s.select_fresh(ctx, over(x), over(x), kept, view<host>(values.get(), room));
  else if constexpr (writes_values<S>)
    result.finite = s.select_values(ctx, over(x), kept, view<host>(values.get(), room));
  else if constexpr (std::same_as<decltype(s.select(ctx, over(x), kept)), bool>)
    result.finite = s.select(ctx, over(x), kept);
  else
    s.select(ctx, over(x), kept);
  ctx.memory->release();
  REQUIRE(kept.count <= room);
  index_t const* const end = kept.indices.data() + room;
  CHECK(std::all_of(end, end + margin, [](index_t i) { return i == pattern; }));
  result.indices.assign(kept.indices.data(), kept.indices.data() + kept.count);
  if constexpr (writes_values<S>) {
    CHECK(values.intact());
    result.values.assign(values.get(), values.get() + kept.count);
  }
  return result;
}
/// The same in a first step.
template <selector S>
selected run_select(S const& s, floats const& x, step<host> const& ctx) {
  state_of<S, host> state(s, ctx, shape{x.size(), 1});
  return run_select(s, x, ctx, state);
}
template <selector S>
std::vector<index_t> run_select(S const& s, floats const& x) {
  lone_rank r;
  auto const result = run_select(s, x, r.ctx);
  CHECK(result.finite);
  return result.indices;
}

/// Laws on one vector of finite numbers.
template <selector S>
void check_selection(S const& s, floats const& x) {
  auto const n = x.size();
  CAPTURE(n);
  lone_rank r(0, 4);
  auto const first = run_select(s, x, r.ctx);
  auto const& kept = first.indices;
  CHECK(first.finite);
  CHECK(s.max_kept(n) <= n);
  CHECK(kept.size() <= s.max_kept(n));
  if (S::fixed_size) CHECK(kept.size() == s.max_kept(n));
  CHECK(std::all_of(kept.begin(), kept.end(), [&](index_t i) { return i < n; }));
  CHECK(std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>{}) == kept.end());  // ascending, distinct
  CHECK(run_select(s, x, r.ctx).indices == kept);
  if (S::where == support::all) {
    std::vector<index_t> every(n);
    std::iota(every.begin(), every.end(), index_t{0});
    CHECK(kept == every);
  }
  if (S::where == support::shared) {  // neither data nor rank may change it
    floats const nothing(n, 0.f), nan(n, not_finite[0]);
    CHECK(run_select(s, nothing, r.ctx).indices == kept);
    CHECK(run_select(s, nan, r.ctx).indices == kept);
    for (int rank : {1, 2, 3}) {
      lone_rank other(rank, 4);
      CHECK(run_select(s, heavy_tailed(n, 5), other.ctx).indices == kept);
    }
  }
}

/// A fused hook against its stages: the same bits. fused(ctx, g, e, a, kept, values) is to select from a = g + e.
template <selector S, class Fused>
void check_fused(S const& s, std::size_t n, Fused const& fused) {
  using v = view<host>;
  CAPTURE(n);
  lone_rank r;
  auto const g = heavy_tailed(n, 2), e = heavy_tailed(n, 3);
  auto const sum = plus(g, e);
  guarded<float> a(n), values(s.max_kept(n));
  selection<host> kept;
  kept.indices = buffer<host, index_t>("kept", s.max_kept(n));
  CHECK(fused(r.ctx, over(g), over(e), v(a.get(), n), kept, v(values.get(), values.size())));
  r.release();
  CHECK(a.intact());
  CHECK(values.intact());
  CHECK(identical(a.values(), sum));
  auto const expected = run_select(s, sum, r.ctx).indices;
  CHECK(std::vector<index_t>(kept.indices.data(), kept.indices.data() + kept.count) == expected);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(bits_of(values[i]) == bits_of(sum[expected[i]]));
}

template <class S>
inline constexpr bool selects_sums = requires(working<S, host> const& s, step<host> const& c, in<host> g, view<host> a,
                                              selection<host>& k) {
  s.select_sum(c, g, g, a, k, a);
};
template <class S>
inline constexpr bool selects_while_making = requires(working<S, host> const& s, step<host> const& c,
                                                      kernel::forming const& f, view<host> a, selection<host>& k) {
  s.select_formed(c, f, a, k, a);
};
/// Calls f(fused) for each fused hook that there is; each call is that of a first step, unless f brings a state.
template <selector S, class F>
void each_fused_hook(S const& s, F const& f, state_of<S, host>* known = nullptr) {
  using v = view<host>;
  auto const state = [&](step<host> const& c, v a) {
    return known != nullptr ? *known : state_of<S, host>(s, c, shape{a.extent(0), 1});
  };
  if constexpr (selects_sums<S>)
    f([&](step<host> const& c, in<host> g, in<host> e, v a, selection<host>& k, v values) {
      auto its = state(c, a);
      return at_work<S, host>(s, its).select_sum(c, g, e, a, k, values);
    });
  if constexpr (selects_while_making<S>)
    f([&](step<host> const& c, in<host> g, in<host> e, v a, selection<host>& k, v values) {
      auto its = state(c, a);
      auto const form = [&](std::size_t from, std::size_t to, float* out) {
        for (auto i = from; i < to; ++i) *out++ = g(i) + e(i);
      };
      return at_work<S, host>(s, its).select_formed(c, kernel::forming(form), a, k, values);
    });
}

template <class S>
inline constexpr bool answers_for_finiteness = writes_values<S> ||
                                               requires(working<S, host> const& s, selection<host>& kept) {
  { s.select(step<host>{}, in<host>{}, kept) } -> std::same_as<bool>;
};

/// A selector that answers for finiteness must see what is not, wherever it stands and however few it keeps.
template <selector S>
void check_finiteness(S const& s) {
  if constexpr (answers_for_finiteness<S>) {
    for (std::size_t n : {1u, 5u, 33u})
      for (std::size_t at = 0; at < n; ++at)
        for (float const bad : not_finite) {
          auto x = heavy_tailed(n);
          x[at] = bad;
          lone_rank r;
          CAPTURE(n);
          CAPTURE(at);
          CAPTURE(bad);
          CHECK_FALSE(run_select(s, x, r.ctx).finite);
          each_fused_hook(s, [&](auto const& fused) {
            floats a(n), values(s.max_kept(n));
            selection<host> kept;
            kept.indices = buffer<host, index_t>("kept", s.max_kept(n));
            CHECK_FALSE(fused(r.ctx, over(std::as_const(x)), over(heavy_tailed(n)), over(a), kept, over(values)));
          });
        }
  }
}

template <selector S>
void check_selector(S const& s) {
  INFO("selector ", std::string(S::name));
  for (std::size_t const n : law_sizes) {
    check_selection(s, heavy_tailed(n));
    check_selection(s, floats(n, 0.f));
    check_selection(s, floats(n, -2.5f));
    each_fused_hook(s, [&](auto const& fused) { check_fused(s, n, fused); });
  }
  check_finiteness(s);
}

}  // namespace gradpress::test
