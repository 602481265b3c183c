// SPDX-License-Identifier: Apache-2.0
#include <gradpress/feedback/loco.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/feedback_laws.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(feedback<loco>);
static_assert(remembers<loco>);
static_assert(!feedback<loco const>);
static_assert(loco::law == memory_law::fading);
static_assert(loco::words(25600000) * 4 < 25600000 * 1.02);  // a byte an element, and scales

namespace {
/// What loco does, in floats: error_feedback whose residual is averaged, rounded to 8 bits, and emptied.
struct in_floats {
  double beta = 0;
  int reset_every = 0;
  bool rounds = true;

  using family = family::feedback;
  static constexpr std::string_view name = "in_floats";
  static constexpr memory_law law = memory_law::fading;
  template <class Exec>
  struct state {
    buffer<Exec> residual, age;
    state(in_floats const&, step<Exec> const& ctx, shape d)
        : residual(kernel::zeros(ctx.exec, "residual", d.size())), age(kernel::zeros(ctx.exec, "age", 1)) {}
    template <class V>
    void visit(V&& v) {
      v("residual", residual);
      v("age", age);
    }
  };
  template <class Exec, class State>
  in<Exec> compensate(step<Exec> const&, in<Exec> g, State& s, view<Exec> room) const {
    for (std::size_t i = 0; i < g.extent(0); ++i) room(i) = g(i) + s.residual(i);
    return room;
  }
  template <class Exec, class State>
  void keep(step<Exec> const& ctx, in<Exec> g, buffer<Exec>& rest, State& s) const {
    auto const n = g.extent(0);
    auto const share = static_cast<float>(1 - beta);
    for (std::size_t i = 0; i < n; ++i) {
      float volatile old = (1 - share) * s.residual(i), fresh = share * rest(i);
      if (beta != 0) rest(i) = old + fresh;
    }
    for (std::size_t from = 0; rounds && from < n; from += 256) {
      auto const to = std::min(n, from + 256);
      float top = 0;
      for (auto i = from; i < to; ++i) top = std::max(top, std::abs(rest(i)));
      std::vector<std::byte> codes(kernel::int_bytes(to - from, 8, 256));
      kernel::int_encode(ctx.exec, rest.data() + from, to - from, 8, 256, false, 0, codes.data());
      for (auto i = from; i < to; ++i) {
        float decoded = 0;
        std::vector<float> all(to - from);
        kernel::int_decode(ctx.exec, codes.data(), to - from, 8, 256, all.data());
        decoded = all[i - from];
        if (std::abs(decoded - rest(i)) > top / 253) throw std::runtime_error("rounded by too much");
        rest(i) = decoded;
      }
    }
    if (++s.age(0) == static_cast<float>(reset_every)) {
      s.age(0) = 0;
      for (std::size_t i = 0; i < n; ++i) rest(i) = 0;
    }
    std::swap(s.residual, rest);
  }
  template <class Rest, class State>
  void undo(Rest&, State&) const {}
};

constexpr std::size_t n = 600;
bool same_updates(std::vector<recollection> const& a, std::vector<recollection> const& b) {
  for (std::size_t s = 0; s < a[0].updates.size(); ++s)
    if (!identical(a[0].updates[s], b[0].updates[s])) return false;
  return a[0].updates.size() == b[0].updates.size();
}
}  // namespace

TEST_CASE("feedback::loco obeys the laws of feedbacks") {
  check_feedback(loco{});
  check_feedback(loco{.beta = 0, .reset_every = 3});
}

TEST_CASE("feedback::loco obeys the laws of compositions") { check_memory(loco{.reset_every = 5}); }

TEST_CASE("feedback::loco is what its formula says, bit for bit") {
  auto const run = [](auto memory) { return remember(3, n, 12, compress_with(top_k{.density = 0.1}, memory)); };
  CHECK(same_updates(run(loco{.beta = 0, .reset_every = 0}), run(in_floats{})));
  CHECK(same_updates(run(loco{.beta = 0.75, .reset_every = 0}), run(in_floats{.beta = 0.75})));
  CHECK(same_updates(run(loco{.beta = 0.75, .reset_every = 5}), run(in_floats{.beta = 0.75, .reset_every = 5})));
  CHECK_FALSE(same_updates(run(loco{.beta = 0.75, .reset_every = 5}), run(in_floats{.beta = 0.75})));
  CHECK_FALSE(same_updates(run(loco{.beta = 0, .reset_every = 0}), run(in_floats{.rounds = false})));
  // The same without rounding is error_feedback.
  CHECK(same_updates(run(error_feedback{}), run(in_floats{.rounds = false})));
}

TEST_CASE("feedback::loco at beta = 0 is error_feedback, bit for bit, where bytes can hold what is left") {
  auto const run = [](auto const& memory) {
    self_communicator alone;
    reducer r{gradpress::serial{}, alone};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.1}, memory));
    std::vector<floats> all;
    for (int s = 0; s < 12; ++s) {
      floats g(n);
      for (std::size_t i = 0; i < n && s == 0; ++i) g[i] = (i % 3 == 0 ? 127.f : -127.f) / 16;
      r.average(w, std::span(g));
      all.push_back(g);
    }
    return all;
  };
  auto const bytes = run(loco{.beta = 0, .reset_every = 0}), whole = run(error_feedback{});
  for (std::size_t s = 0; s < 12; ++s) {
    CHECK(identical(bytes[s], whole[s]));
    CHECK((squared(whole[s]) > 0) == (s < 10));  // a tenth in each step
  }
}

TEST_CASE("feedback::loco keeps a byte an element, and a scale for 256 of them") {
  lone_rank r;
  state_of<loco, host> s(loco{}, r.ctx, shape{100, 1000});
  CHECK(s.codes.extent(0) * sizeof(float) == 100000 + 4 * 391);
  CHECK(s.spare.extent(0) == s.codes.extent(0));
  CHECK(s.age.extent(0) == 1);
}

TEST_CASE("feedback::loco: saves, loads, rolls back and refuses as every memory does") {
  check_resumes(compress_with(top_k{.density = 0.1}, loco{.reset_every = 0}));
  check_resumes(compress_with(stochastic_int{.bits = 4, .block = 64}, loco{.reset_every = 6}));  // amid the rollback
  check_resumes(compress_with(stochastic_int{.bits = 4, .block = 64}, loco{.reset_every = 4}));
  CHECK(describe(loco{}) == "loco(beta=0.8,reset_every=1024)");
  for (double const bad : {-0.1, 1., std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(check_knobs(compress_with(loco{.beta = bad})), configuration_error);
  CHECK_THROWS_AS(check_knobs(compress_with(loco{.reset_every = (1u << 24) + 1})), configuration_error);
}
