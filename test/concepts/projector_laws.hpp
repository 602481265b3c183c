// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Projector must do. Call `check_projector` from the test of a projector.

#include <gradpress/concepts/projector.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <string>

namespace gradpress::test {

/// One rank's projector at work on one tensor.
template <projector P>
struct projecting {
  lone_rank r;
  P use;
  shape dims;
  state_of<P, host> state;

  projecting(P const& p, shape d, int rank = 0) : r(rank, 4), use(p), dims(d), state(p, r.ctx, d) {}

  /// How many coefficients this step has in a round.
  std::size_t count(int round) {
    if constexpr (requires { use.coefficients(dims, round, state); }) return use.coefficients(dims, round, state);
    return use.coefficients(dims, round);
  }
  /// Coefficients of a, with a watched margin where they are written to room.
  floats project(int round, floats const& a) {
    auto const n = count(round);
    CHECK(n <= use.coefficients(dims, round));
    guarded<float> room(n);
    r.ctx.phase = round;
    in<host> const c = use.project(r.ctx, dims, round, over(a), state, view<host>(room.get(), n));
    r.release();
    CHECK(c.extent(0) == n);
    bool const in_place = c.data() == a.data(), in_room = c.data() == room.get();
    CHECK((in_place || in_room || n == 0));
    CHECK(room.intact());
    return copied(c);
  }
  floats lift(floats const& c) {
    guarded<float> room(dims.size());
    in<host> const x = use.lift(r.ctx, dims, over(c), state, view<host>(room.get(), room.size()));
    r.release();
    CHECK(x.extent(0) == dims.size());
    CHECK(room.intact());
    return copied(x);
  }
  void accept(int round, floats const& mean) {
    if constexpr (P::rounds > 1) {
      use.accept(r.ctx, dims, round, over(mean), state);
      r.release();
    }
  }
  void commit(floats const& mean) {
    if constexpr (requires { use.commit(r.ctx, dims, over(mean), state); }) {
      use.commit(r.ctx, dims, over(mean), state);
      r.release();
    }
  }
  /// All rounds of one rank alone; what the tensor becomes.
  floats step(floats const& a) {
    floats c;
    for (int round = 0; round < P::rounds; ++round) {
      c = project(round, a);
      if (round + 1 < P::rounds) accept(round, c);
    }
    auto const x = lift(c);
    commit(c);
    ++r.ctx.number;
    return x;
  }
  /// What a checkpoint would keep.
  floats kept() {
    floats all;
    state.visit([&](char const*, buffer<host> b) { all.insert(all.end(), b.data(), b.data() + b.extent(0)); });
    return all;
  }
};

inline double distance(floats const& a, floats const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto const d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}

/// With equal state: coefficients of a sum are the sum of coefficients, and lift to the sum.
template <projector P>
void check_linear(P const& p, shape d) {
  projecting<P> at(p, d);
  auto const a = heavy_tailed(d.size(), 1), b = heavy_tailed(d.size(), 2), both = plus(a, b);
  floats ca, cb;
  for (int round = 0; round < P::rounds; ++round) {
    ca = at.project(round, a), cb = at.project(round, b);
    auto const c = at.project(round, both);
    CHECK(distance(c, plus(ca, cb)) <= 1e-5 * std::sqrt(squared(ca) + squared(cb)) + 1e-30);
    CHECK(identical(c, at.project(round, both)));
    if (round + 1 < P::rounds) at.accept(round, plus(ca, cb));
  }
  auto const xa = at.lift(ca), xb = at.lift(cb);
  CHECK(distance(at.lift(plus(ca, cb)), plus(xa, xb)) <= 1e-5 * std::sqrt(squared(xa) + squared(xb)) + 1e-30);
}

/// The fused hooks against their stages, to rounding: sums may run in another order.
template <projector P>
void check_projector_hooks(P const& p, shape d) {
  using v = view<host>;
  projecting<P> at(p, d);
  auto const n = d.size(), first = at.count(0);
  auto const g = heavy_tailed(n, 2), e = heavy_tailed(n, 3), sum = plus(g, e);
  auto const c = at.project(0, sum);
  if constexpr (requires(step<host> const& s) { p.project_sum(s, d, in<host>{}, in<host>{}, v{}, at.state, v{}); }) {
    guarded<float> a(n), room(first);
    CHECK(p.project_sum(at.r.ctx, d, over(g), over(e), v(a.get(), n), at.state, v(room.get(), first)));
    at.r.release();
    CHECK(a.intact());
    CHECK(room.intact());
    CHECK(identical(a.values(), sum));
    CHECK(distance(room.values(), c) <= 1e-5 * std::sqrt(squared(c)));
    for (float const bad : not_finite)
      for (std::size_t i = 0; i < n; i += 1 + n / 9) {
        auto broken = e;
        broken[i] = bad;
        CHECK_FALSE(p.project_sum(at.r.ctx, d, over(g), over(std::as_const(broken)), v(a.get(), n), at.state,
                                  v(room.get(), first)));
        at.r.release();
      }
  }
  if constexpr (requires(step<host> const& s) { p.lift_both(s, d, in<host>{}, in<host>{}, at.state, v{}, v{}); }) {
    for (int round = 0; round + 1 < P::rounds; ++round) at.accept(round, at.project(round, sum));
    auto const last = at.count(P::rounds - 1);
    auto const mean = heavy_tailed(last, 4), own = heavy_tailed(last, 5);
    auto const update = at.lift(mean), mine = at.lift(own);
    guarded<float> out(n), rest(sum);
    p.lift_both(at.r.ctx, d, over(mean), over(own), at.state, v(out.get(), n), v(rest.get(), n));
    at.r.release();
    CHECK(out.intact());
    CHECK(rest.intact());
    floats expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = sum[i] - mine[i];
    CHECK(distance(out.values(), update) <= 1e-6 * std::sqrt(squared(update)));
    CHECK(distance(rest.values(), expected) <= 1e-6 * std::sqrt(squared(sum) + squared(mine)));
  }
}

/// All ranks start alike; nothing that a checkpoint keeps moves before the commit; one commit can be taken back.
template <projector P>
void check_projector_state(P const& p, shape d) {
  projecting<P> at(p, d), other(p, d, 3);
  auto const start = at.kept();
  CHECK(identical(start, other.kept()));
  auto const a = heavy_tailed(d.size(), 1);
  floats c;
  for (int round = 0; round < P::rounds; ++round) {
    c = at.project(round, a);
    if (round + 1 < P::rounds) at.accept(round, c);
  }
  at.lift(c);
  CHECK(identical(at.kept(), start));
  at.commit(c);
  auto const after = at.kept();
  if constexpr (requires { at.state.undo(); }) {
    at.state.undo();
    CHECK(identical(at.kept(), start));
    for (int round = 0; round < P::rounds; ++round) {  // the same step again ends where it did
      c = at.project(round, a);
      if (round + 1 < P::rounds) at.accept(round, c);
    }
    at.commit(c);
    CHECK(identical(at.kept(), after));
  }
}

template <projector P>
void check_projector(P const& p) {
  INFO("projector ", describe(p));
  for (shape const d : {shape{0, 1}, shape{1, 1}, shape{31, 1}, shape{1, 31}, shape{8, 4}, shape{3, 11}, shape{40, 25},
                        shape{25, 40}, shape{97, 33}}) {
    CAPTURE(d.rows);
    CAPTURE(d.cols);
    if (P::linear) check_linear(p, d);
    check_projector_hooks(p, d);
    check_projector_state(p, d);
  }
}

}  // namespace gradpress::test
