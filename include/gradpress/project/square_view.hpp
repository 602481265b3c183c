// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Projector: another projector on the same elements as a nearly square matrix.

#include <gradpress/kernel/dense.hpp>
#include <gradpress/project/low_rank.hpp>

namespace gradpress {

/// The inner projector sees the n elements, in their order, as floor(sqrt(n)) rows of equal length, the last of them filled
/// up with zeros. Factors of rank r are then about 2 r sqrt(n) numbers, whatever shape the tensor has: vectors, embeddings
/// and thin matrices become compressible.
///
/// - Shape     n elements in; out the coefficients that the inner has of rows = floor(sqrt(n)), cols = ceil(n / rows).
/// - Rounds, whole, state, memory, bias   the inner's, for that matrix; its knobs are live under its own name.
/// - Cost      the inner's. Where rows cols = n nothing is copied. Else each pass over memory first copies what it reads
///             into scratch and then what it wrote out of it: 8 bytes an element for each, and 4 rows cols bytes of
///             scratch; what a memory owes is a pass of its own. Fewer than sqrt(n) zeros are added.
/// - Edges     n = 0 is 0 x 1. What the inner lifts into the added zeros is dropped, and no memory has it.
/// - Source    PyTorch's batched_powerSGD_hook, which fills a bucket up to a full square. Differs: a tensor each, and not
///             more zeros than the last row lacks. Vogels, Karimireddy, Jaggi, PowerSGD, NeurIPS 2019 keep a tensor's own
///             rows and columns: where these mean something that is the better choice.
template <class P = low_rank>
struct square_view {
  P inner{};

  using family = family::projector;
  static constexpr std::string_view name = "square_view";
  // Its type written out: clang 19 cannot deduce it of a class template in a precompiled header.
  static constexpr std::tuple<knob<P, square_view>> knobs = {knob<P, square_view>{"inner", &square_view::inner}};
  static constexpr int rounds = P::rounds;
  static constexpr bool linear = P::linear;
  static_assert(projector<P> && !keeps_coordinates<P>,
                "square_view: the inner projector must be one that looks at rows and columns, such as low_rank.");

  [[nodiscard]] static constexpr shape matrix(std::size_t n) noexcept {
    if (n == 0) return {};
    std::size_t rows = 0;
    for (auto bit = std::size_t{1} << 31; bit > 0; bit /= 2)
      if ((rows + bit) <= n / (rows + bit)) rows += bit;
    return {rows, (n + rows - 1) / rows};
  }

  template <class Exec>
  struct state : state_of<P, Exec> {
    using base = state_of<P, Exec>;
    state(square_view const& p, step<Exec> const& ctx, shape d) : base(p.inner, ctx, matrix(d.size())) {}
    void carry_over(step<Exec> const& ctx, square_view const& p, shape d, state const& old) {
      if constexpr (requires(base & s) { s.carry_over(ctx, p.inner, d, old); })
        base::carry_over(ctx, p.inner, matrix(d.size()), old);
    }
  };

  void check() const {
    if constexpr (requires { inner.check(); }) inner.check();
  }
  void check([[maybe_unused]] shape d) const {
    if constexpr (requires { inner.check(d); }) inner.check(matrix(d.size()));
  }
  [[nodiscard]] constexpr std::size_t coefficients(shape d, int round) const noexcept {
    return inner.coefficients(matrix(d.size()), round);
  }
  template <class State>
  requires requires(P const& p, State const& s) { p.coefficients(shape{}, 0, s); }
  [[nodiscard]] std::size_t coefficients(shape d, int round, State const& s) const {
    return inner.coefficients(matrix(d.size()), round, s);
  }
  template <class Exec, class State>
  requires(takes_courses<P>) course begin(step<Exec> const& ctx, shape d, State& s)
  const { return inner.begin(ctx, matrix(d.size()), s); }

  template <class Exec, class State>
  in<Exec> project(step<Exec> const& ctx, shape d, int round, in<Exec> a, State& s, view<Exec> room) const {
    auto const m = matrix(d.size());
    auto const seen = filled(ctx, a, m);
    auto const c = inner.project(ctx, m, round, seen, s, room);
    if (c.data() != seen.data() || seen.data() == a.data()) return c;
    kernel::copy(ctx.exec, c.data(), c.extent(0), room.data());  // scratch would not live long enough
    return room;
  }
  template <class Exec, class State>
  requires concepts::has_accept<P>
  void accept(step<Exec> const& ctx, shape d, int round, in<Exec> mean, State& s) const {
    inner.accept(ctx, matrix(d.size()), round, mean, s);
  }
  template <class Exec, class State>
  in<Exec> lift(step<Exec> const& ctx, shape d, in<Exec> c, State& s, view<Exec> room) const {
    auto const m = matrix(d.size());
    if (m.size() == d.size()) return inner.lift(ctx, m, c, s, room);
    auto const whole = inner.lift(ctx, m, c, s, ctx.scratch(m.size()));
    kernel::copy(ctx.exec, whole.data(), d.size(), room.data());
    return room;
  }

  // ---- what fuses several passes, where the inner has it ---------------------------------------------------------

  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, view<Exec> y, State& s) {
    { p.project_sum(c, shape{}, x, x, y, s, y) } -> std::same_as<bool>;
  }
  bool project_sum(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, view<Exec> a, State& s,
                   view<Exec> room) const {
    auto const m = matrix(d.size());
    return into(ctx, m, a, [&](view<Exec> sum) {
      return inner.project_sum(ctx, m, filled(ctx, g, m), filled(ctx, e, m), sum, s, room);
    });
  }
  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, view<Exec> y, State& s) {
    p.lift_both(c, shape{}, x, x, s, y, y);
  }
  void lift_both(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, view<Exec> g,
                 view<Exec> a) const {
    auto const m = matrix(d.size());
    into(ctx, m, g, [&](view<Exec> update) {
      return into(ctx, m, a, [&](view<Exec> rest) {
        if (rest.data() != a.data()) fill(ctx, in<Exec>(a), rest);
        return inner.lift_both(ctx, m, mean, own, s, update, rest), true;
      });
    });
  }
  [[nodiscard]] auto owes(shape d) const requires requires(P const& p) { p.owes(shape{}); }
  { return inner.owes(matrix(d.size())); }
  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, State& s, buffer<Exec> const& b) {
    p.owe(c, shape{}, x, x, s, b, b);
  }
  void owe(step<Exec> const& ctx, shape d, in<Exec> mean, in<Exec> own, State& s, buffer<Exec> const& left,
           buffer<Exec> const& right) const {
    inner.owe(ctx, matrix(d.size()), mean, own, s, left, right);
  }
  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, view<Exec> y, State& s) {
    { p.project_owed(c, shape{}, x, x, x, x, y, s, y) } -> std::same_as<bool>;
  }
  bool project_owed(step<Exec> const& ctx, shape d, in<Exec> g, in<Exec> e, in<Exec> left, in<Exec> right, view<Exec> a,
                    State& s, view<Exec> room) const {
    auto const m = matrix(d.size());
    if (m.size() == d.size()) return inner.project_owed(ctx, m, g, e, left, right, a, s, room);
    auto const rest = ctx.scratch(d.size());  // what is owed reaches into the added zeros, which must stay zeros
    kernel::copy(ctx.exec, e.data(), d.size(), rest.data());
    settle(ctx, d, left, right, rest);
    return project_sum(ctx, d, g, in<Exec>(rest), a, s, room);
  }
  template <class Exec>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, view<Exec> y) { p.settle(c, shape{}, x, x, y); }
  void settle(step<Exec> const& ctx, shape d, in<Exec> left, in<Exec> right, view<Exec> e) const {
    auto const m = matrix(d.size());
    into(ctx, m, e, [&](view<Exec> rest) {
      if (rest.data() != e.data()) fill(ctx, in<Exec>(e), rest);
      return inner.settle(ctx, m, left, right, rest), true;
    });
  }

  // ---- the step stands -------------------------------------------------------------------------------------------

  /// Of a projector that is not linear the mean is a tensor, and seen as a square too.
  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, State& s) { p.commit(c, shape{}, x, s); }
  void commit(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    auto const m = matrix(d.size());
    inner.commit(ctx, m, linear ? mean : filled(ctx, mean, m), s);
  }
  template <class Exec, class State>
  requires requires(P const& p, step<Exec> const& c, in<Exec> x, State& s) { p.commit_whole(c, shape{}, x, s); }
  void commit_whole(step<Exec> const& ctx, shape d, in<Exec> mean, State& s) const {
    auto const m = matrix(d.size());
    inner.commit_whole(ctx, m, filled(ctx, mean, m), s);
  }

 private:
  template <class Exec>
  static void fill(step<Exec> const& ctx, in<Exec> x, view<Exec> to) {
    auto const n = x.extent(0);
    kernel::copy(ctx.exec, x.data(), n, to.data());
    kernel::fill_zero(ctx.exec, to.data() + n, to.extent(0) - n);
  }
  /// x itself, or a copy with the zeros that it lacks.
  template <class Exec>
  static in<Exec> filled(step<Exec> const& ctx, in<Exec> x, shape m) {
    if (x.extent(0) == m.size()) return x;
    auto const whole = ctx.scratch(m.size());
    fill(ctx, x, whole);
    return whole;
  }
  /// write(x), or write to scratch of m's size and x from that.
  template <class Exec, class Write>
  static bool into(step<Exec> const& ctx, shape m, view<Exec> x, Write const& write) {
    if (x.extent(0) == m.size()) return write(x);
    auto const whole = ctx.scratch(m.size());
    bool const fine = write(whole);
    kernel::copy(ctx.exec, whole.data(), x.extent(0), x.data());
    return fine;
  }
};
template <class P>
square_view(P) -> square_view<P>;
square_view()->square_view<>;

static_assert(explain_projector<square_view<>>());

}  // namespace gradpress
