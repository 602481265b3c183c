// SPDX-License-Identifier: Apache-2.0
#include <gradpress/concepts/selector.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
/// Knows how many steps that it selected for stand, and keeps the entry of that number. `calls` are noted as they come.
template <support Where>
struct in_turn {
  std::vector<float>* calls = nullptr;

  using family = family::selector;
  static constexpr std::string_view name = "in_turn";
  static constexpr support where = Where;
  static constexpr bool fixed_size = true;
  template <class Exec>
  struct state {
    buffer<Exec> stood, tentative;
    state(in_turn const&, step<Exec> const& ctx, shape)
        : stood(kernel::zeros(ctx.exec, "stood", 1)), tentative(kernel::zeros(ctx.exec, "stood", 1)) {}
    template <class V>
    void visit(V&& v) {
      v("stood", stood);
    }
    void commit() { std::swap(stood, tentative); }
    void undo() { std::swap(stood, tentative); }
  };
  [[nodiscard]] std::size_t max_kept(std::size_t n) const { return std::min<std::size_t>(n, 1); }
  template <class Exec>
  void select(step<Exec> const&, in<Exec> x, selection<Exec>& kept, state<Exec>& s) const {
    if (calls != nullptr) calls->push_back(s.stood(0));
    kept.count = max_kept(x.extent(0));
    if (kept.count > 0) kept.indices(0) = static_cast<index_t>(s.stood(0)) % static_cast<index_t>(x.extent(0));
    s.tentative(0) = s.stood(0) + 1;
  }
};
using own_turn = in_turn<support::own>;
/// Led by rank 0 and rank 1 in turns: each knows how often it led.
struct led_in_turn : in_turn<support::shared> {
  static constexpr std::string_view name = "led_in_turn";
  template <class Exec>
  [[nodiscard]] int leader(step<Exec> const& ctx) const {
    return static_cast<int>(ctx.number % 2);
  }
};

struct forgets_to_undo {
  using family = family::selector;
  static constexpr std::string_view name = "forgets_to_undo";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  template <class Exec>
  struct state {
    state(forgets_to_undo const&, step<Exec> const&, shape) {}
    template <class V>
    void visit(V&&) {}
    void commit() {}
  };
  [[nodiscard]] std::size_t max_kept(std::size_t n) const { return n; }
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&, state<Exec>&) const {}
};
/// Declares a state that its `select` does not take.
struct ignores_its_state : forgets_to_undo {
  template <class Exec>
  struct state {
    state(ignores_its_state const&, step<Exec> const&, shape) {}
    template <class V>
    void visit(V&&) {}
    void commit() {}
    void undo() {}
  };
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&) const {}
};

std::size_t only_entry(floats const& x) {
  auto const first = std::find_if(x.begin(), x.end(), [](float v) { return v != 0; });
  REQUIRE(std::count(x.begin(), x.end(), 0.f) == static_cast<std::ptrdiff_t>(x.size()) - 1);
  return static_cast<std::size_t>(first - x.begin());
}
}  // namespace

static_assert(selector<own_turn> && keeps_state<own_turn> && leading<led_in_turn> && selector<top_k>);
static_assert(!selector<forgets_to_undo> && !selector<ignores_its_state> && !selector<int>);
static_assert(std::same_as<working<top_k, host>, top_k> && !std::same_as<working<own_turn, host>, own_turn>);

TEST_CASE("concepts::selector: a state moves with the steps that stand, and with no other") {
  constexpr std::size_t n = 9;
  self_communicator alone;
  auto const method = compress_with(own_turn{}, error_feedback{});
  reducer r{gradpress::serial{}, alone}, other{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, method), v = other.add("w", n, 1, method);
  auto const entry = [&](auto& red, auto t) {
    floats g(n, 1.f);
    red.average(t, std::span(g));
    return only_entry(g);
  };
  for (std::size_t s = 0; s < 3; ++s) CHECK(entry(r, w) == s);
  r.rollback();
  CHECK(entry(r, w) == 2);
  floats bad(n, 1.f);
  bad[4] = not_finite[0];
  CHECK_THROWS_AS(r.average(w, std::span(bad)), non_finite_error);
  std::stringstream file;
  r.save(file);
  CHECK(entry(r, w) == 3);
  other.load(file);
  for (std::size_t s = 3; s < 12; ++s) CHECK(entry(other, v) == s % n);
  other.rollback();
  CHECK(entry(other, v) == 11 % n);
}

TEST_CASE("concepts::selector: a step that fails elsewhere leaves a state as it was") {
  run_ranks(3, [](thread_communicator& c) {
    constexpr std::size_t n = 5;
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, compress_with(own_turn{}, error_feedback{}));
    for (std::size_t s = 0; s < 4; ++s) {
      floats bad(n, 1.f);
      if (c.rank() == 2) bad[1] = not_finite[1];
      try {
        r.average(w, std::span(bad));
        throw std::runtime_error("an infinite gradient was not reported");
      } catch (non_finite_error const&) {
      }
      floats g(n, 1.f);
      r.average(w, std::span(g));
      for (std::size_t i = 0; i < n; ++i)
        if ((g[i] != 0) != (i == s)) throw std::runtime_error("a failed step moved the state");
    }
  });
}

TEST_CASE("concepts::selector: behind a projector of several rounds the last one is remembered") {
  self_communicator alone;
  std::vector<float> calls;
  reducer r{gradpress::serial{}, alone};
  auto const w =
      r.add("w", 12, 10,
            compress_with(low_rank{.rank = 2, .start = 2, .minimum_rate = 0}, own_turn{&calls}, error_feedback{}));
  auto const step = [&](int s) {
    auto g = heavy_tailed(120, static_cast<std::uint64_t>(s) + 1);
    r.average(w, std::span(g));
  };
  for (int s = 0; s < 5; ++s) step(s);  // two of them whole: nothing is selected
  CHECK(calls == std::vector<float>{0, 0, 0, 1, 0, 2});
  r.rollback();
  calls.clear();
  step(4);
  CHECK(calls == std::vector<float>{0, 2});

  calls.clear();
  r.set(w, "rank", "1");  // other coefficients: nothing is known of them
  step(5);
  r.rollback();
  for (int s = 5; s < 7; ++s) step(s);
  CHECK(calls == std::vector<float>{0, 0, 0, 0, 0, 1});
}

TEST_CASE("concepts::selector: what leads remembers the steps in which it led") {
  std::vector<std::vector<float>> calls(2);
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    led_in_turn s;
    s.calls = &calls[static_cast<std::size_t>(c.rank())];
    auto const w = r.add("w", 7, 1, compress_with(s, error_feedback{}));
    auto const step = [&] {
      floats g(7, 1.f);
      r.average(w, std::span(g));
    };
    for (int i = 0; i < 4; ++i) step();  // led by 0, 1, 0, 1
    r.rollback();
    for (int i = 0; i < 2; ++i) step();
  });
  CHECK(calls[0] == std::vector<float>{0, 1, 2});
  CHECK(calls[1] == std::vector<float>{0, 1, 1});
}
