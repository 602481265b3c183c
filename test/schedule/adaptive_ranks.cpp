// SPDX-License-Identifier: Apache-2.0
#include <gradpress/schedule/adaptive_ranks.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/recipes.hpp>

#include "../support/low_rank_matrices.hpp"
#include "../support/planted.hpp"

#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

namespace {
using host_reducer = reducer<gradpress::serial>;
using tensor = host_reducer::tensor;

constexpr int world = 3;
constexpr shape d{30, 40};
constexpr std::size_t kept_bytes = 4 * d.size();
constexpr l_greco_options often{.every = 6, .window = 2};

std::vector<double> falling(std::size_t count, double first, double ratio) {
  std::vector<double> sigma(count);
  for (auto& s : sigma) s = std::exchange(first, first * ratio);
  return sigma;
}
/// Two directions, and a spectrum that is flat; a rank has a share of them and some noise.
struct gradients {
  floats steep, flat = planted(d, falling(30, 1, 0.97), 2);

  explicit gradients(std::vector<double> const& sigma = falling(2, 10, 0.5)) : steep(planted(d, sigma, 1)) {}
  floats operator()(bool first, std::uint64_t step, int rank) const {
    auto const k = key{step}.with(static_cast<std::uint64_t>(2 * rank) + (first ? 1 : 0));
    auto g = times(1.f + 0.5f * static_cast<float>(rank - 1), first ? steep : flat);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] += 1e-4f * (k.uniform(i) - 0.5f);
    return g;
  }
};
floats memory_of(host_reducer& r, tensor t) {
  floats all;
  r.visit(t, [&](char const* name, auto const& b) {
    if (std::string(name) == "residual") all = copied(b);
  });
  return all;
}
/// The same bits on all ranks?
void require_equal(thread_communicator& c, floats const& x) {
  floats all(x.size() * world);
  c.all_gather(std::as_bytes(std::span(x)), std::as_writable_bytes(std::span(all)));
  for (std::size_t p = 0; p < world; ++p)
    require(std::memcmp(all.data() + p * x.size(), x.data(), 4 * x.size()) == 0, "other bits");
}
int rank_of(host_reducer& r, tensor t) { return std::stoi(r.knob(t, "rank")); }

/// Two tensors of a rank, what they were handed and what came of it.
struct trainer {
  thread_communicator& c;
  gradients const& from;
  host_reducer r;
  tensor w[2];
  std::vector<double> handed[2], updated[2];
  std::uint64_t control = 0;  // of the last step

  template <class Method>
  trainer(thread_communicator& comm, gradients const& g, Method const& method)
      : c(comm),
        from(g),
        r(gradpress::serial{}, comm),
        w{r.add("steep", d.rows, d.cols, method), r.add("flat", d.rows, d.cols, method)} {
    for (auto* all : {&handed, &updated})
      for (auto& x : *all) x.assign(d.size(), 0);
  }
  /// Returns the updates, end to end.
  floats step(bool stands = true) {
    auto const s = r.step_number(), before = r.stats().control_bytes;
    floats g[2];
    for (std::size_t t = 0; t < 2; ++t) g[t] = from(t == 0, s, c.rank());
    auto const mine = std::vector(g, g + 2);
    for (std::size_t t = 0; t < 2; ++t) r.stage(w[t], std::span(g[t]));
    r.average();
    control = r.stats().control_bytes - before;
    floats both = g[0];
    both.insert(both.end(), g[1].begin(), g[1].end());
    for (std::size_t t = 0; stands && t < 2; ++t)
      for (std::size_t i = 0; i < d.size(); ++i) {
        handed[t][i] += static_cast<double>(mine[t][i]);
        updated[t][i] += world * static_cast<double>(g[t][i]);
      }
    return both;
  }
  /// What all ranks handed in is what came out, and what their memories hold.
  void require_conserved() {
    for (std::size_t t = 0; t < 2; ++t) {
      auto const memory = memory_of(r, w[t]);
      floats left(d.size());
      for (std::size_t i = 0; i < d.size(); ++i) left[i] = static_cast<float>(handed[t][i]) - memory[i];
      c.all_reduce_sum(std::span(left));
      double lost = 0, all = 0;
      for (std::size_t i = 0; i < d.size(); ++i) {
        lost += std::pow(static_cast<double>(left[i]) - updated[t][i], 2);
        all += updated[t][i] * updated[t][i];
      }
      require(lost < 1e-8 * all, "something was lost");
    }
  }
  std::pair<int, int> ranks() { return {rank_of(r, w[0]), rank_of(r, w[1])}; }
};
/// Error of a sum of signals, by one decomposition.
double error_of(floats const& sum, int rank) { return tail(singular_values(sum, d), static_cast<std::size_t>(rank)); }

/// Four windows; a sixth of the steps is taken back or fails where `troubled`.
template <class Method>
void check_adapts(Method const& method, bool troubled) {
  gradients const from;
  std::uint64_t sent[2] = {};  // by defaults, and adapted
  run_ranks(world, [&](thread_communicator& c) {
    trainer plain(c, from, method), t(c, from, method);
    adaptive_ranks ranks{t.r, often};
    for (auto const w : t.w) ranks.add(w, 4);
    floats window[2] = {floats(d.size()), floats(d.size())};  // the signals, summed by the test
    std::pair<int, int> now{4, 4};
    bool once = false;
    while (t.r.step_number() < 24) {
      auto const s = t.r.step_number();
      ranks.before_step();
      if (s > 0 && s % often.every == 0 && !once) {
        double allowed = 0, error = 0;
        now = t.ranks();
        for (std::size_t i = 0; i < 2; ++i) {
          allowed += error_of(window[i], 4);
          error += error_of(window[i], i == 0 ? now.first : now.second);
        }
        require(error <= allowed * 1.001, "the error is more than the default's");
      }
      if (s % often.every == 0)
        for (auto& x : window) std::fill(x.begin(), x.end(), 0.f);
      require(t.ranks() == now, "ranks change at an adjustment");
      bool const inside = s % often.every >= often.every - often.window;
      if (troubled && s % 6 >= 4 && !once) {
        once = true;
        if (s % 4 == 0) {  // NaN
          auto good = from(true, s, c.rank()), bad = good;
          if (c.rank() == 1) bad[7] = not_finite[0];
          t.r.stage(t.w[0], std::span(bad)), t.r.stage(t.w[1], std::span(good));
          bool refused = false;
          try {
            t.r.average();
          } catch (non_finite_error const&) {
            refused = true;
          }
          require(refused, "NaN is refused");
        } else {
          t.step(false);
          t.r.rollback();
        }
        continue;  // the same step number again, from the beginning
      }
      once = false;
      if (inside)
        for (std::size_t i = 0; i < 2; ++i) {
          auto signal = plus(from(i == 0, s, c.rank()), memory_of(t.r, t.w[i]));
          c.all_reduce_sum(std::span(signal));
          window[i] = plus(window[i], signal);
        }
      require_equal(c, t.step());
      require(t.control == 80 + 16 + (inside ? 2 * kept_bytes : 0), "the window's sums, and nothing outside it");
      t.require_conserved();
      plain.step();
    }
    require(now.first < 4 && now.second != now.first, "ranks differ");
    require(ranks.planner().last().feasible, "a plan");
    double const both = static_cast<double>(now.first + now.second);
    require(both < 8, "fewer columns than the defaults");
    floats const mine = {static_cast<float>(now.first), static_cast<float>(now.second)};
    require_equal(c, mine);
    auto const before = plain.r.stats().bytes_sent, adapted = t.r.stats().bytes_sent;
    plain.step(), ranks.before_step(), t.step();
    if (c.rank() == 0) sent[0] = plain.r.stats().bytes_sent - before, sent[1] = t.r.stats().bytes_sent - adapted;
  });
  CHECK(sent[1] < sent[0]);
}
}  // namespace

TEST_CASE("schedule::adaptive_ranks: bytes fall at the error of the defaults, and nothing is lost") {
  check_adapts(power_sgd(4), false);
}
TEST_CASE("schedule::adaptive_ranks: coded factors") { check_adapts(lq_sgd(4, 8), false); }
TEST_CASE("schedule::adaptive_ranks: steps that fail or are taken back do not count") {
  check_adapts(power_sgd(4), true);
  check_adapts(lq_sgd(4, 8), true);
}

TEST_CASE("schedule::adaptive_ranks: ranks that go up and down conserve what was handed in") {
  gradients const from(falling(30, 10, 0.3));
  for (bool const coded : {false, true})
    run_ranks(world, [&](thread_communicator& c) {
      trainer t = coded ? trainer(c, from, lq_sgd(4, 8)) : trainer(c, from, power_sgd(4));
      adaptive_ranks ranks{t.r, often};
      for (auto const w : t.w) ranks.add(w);
      int ups = 0, downs = 0;
      while (t.r.step_number() < 40) {
        auto const before = t.ranks().first;
        ranks.before_step();
        ups += t.ranks().first > before, downs += t.ranks().first < before;
        require_equal(c, t.step());
        t.require_conserved();
      }
      require(ups > 0 && downs > 0, "up and down");
    });
}
TEST_CASE("schedule::adaptive_ranks: what a step showed that was taken back is forgotten") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    std::pair<int, int> found[2];
    for (int const troubled : {0, 1}) {
      trainer t(c, from, power_sgd(4));
      adaptive_ranks ranks{t.r, {.every = 3, .window = 2}};
      for (auto const w : t.w) ranks.add(w);
      for (int s = 0; s < 3; ++s) {
        ranks.before_step();
        if (s == 2 && troubled == 1) {  // large, and flat where all else is steep
          auto a = times(1000.f, from.flat), b = times(1000.f, from.steep);
          t.r.stage(t.w[0], std::span(a)), t.r.stage(t.w[1], std::span(b));
          t.r.average();
          t.r.rollback();
          ranks.before_step();
        }
        t.step();
      }
      ranks.before_step();
      found[troubled] = t.ranks();
    }
    require(found[0] == found[1] && found[0].first < found[0].second, "the step that stands decides");
  });
}

TEST_CASE("schedule::adaptive_ranks: an adjustment whose step fails stands, and is made once") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    trainer t(c, from, power_sgd(4));
    adaptive_ranks ranks{t.r, {.every = 2, .window = 1}};
    for (auto const w : t.w) ranks.add(w);
    for (int s = 0; s < 2; ++s) ranks.before_step(), t.step();
    ranks.before_step();
    auto const now = t.ranks();
    auto const bytes = ranks.planner().last().bytes;
    require(now != std::pair(4, 4) && bytes > 0, "adjusted");
    floats bad(d.size(), not_finite[0]);
    bool refused = false;
    try {
      t.r.average(t.w[0], std::span(bad));
    } catch (non_finite_error const&) {
      refused = true;
    }
    require(refused, "NaN is refused");
    ranks.before_step();
    require(t.ranks() == now && ranks.planner().last().bytes == bytes, "once");
    t.step();
    t.require_conserved();
  });
}

TEST_CASE("schedule::adaptive_ranks: a user's observer ends with the window, or stays where it is set inside") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    trainer t(c, from, power_sgd(4));
    int outside = 0, inside = 0;
    {
      adaptive_ranks ranks{t.r, {.every = 4, .window = 2}};
      for (auto const w : t.w) ranks.add(w);
      t.r.watch(t.w[0], [&](measurement const&) { ++outside; });
      for (int s = 0; s < 3; ++s) ranks.before_step(), t.step();
      require(outside == 2, "replaced");
      t.r.watch(t.w[1], [&](measurement const& m) { inside += m.sum.empty() ? 1 : 100; });  // its last sum is gone
      for (int s = 0; s < 2; ++s) ranks.before_step(), t.step();
      require(inside == 2 && t.control == 96, "stays");
      require(ranks.planner().last().picks.size() == 1, "the other was not seen");
      ranks.before_step(), t.step();
      ranks.before_step();
      t.r.watch(t.w[1], nullptr);
    }
    t.step();
    require(t.control == 96, "whoever ends ceases to watch");
  });
}

TEST_CASE("schedule::adaptive_ranks: ranks that somebody else set are known") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    trainer t(c, from, power_sgd(4)), u(c, from, power_sgd(4));
    adaptive_ranks of_t{t.r, {.every = 3, .window = 1}}, of_u{u.r, {.every = 3, .window = 1}};
    for (auto const w : t.w) of_t.add(w);
    for (auto const w : u.w) of_u.add(w);
    for (int s = 0; s < 5; ++s) of_t.before_step(), t.step();
    require(t.ranks() != std::pair(4, 4), "adjusted");
    std::ostringstream to;
    t.r.save(to);
    std::istringstream saved(to.str());
    u.r.load(saved);
    require(u.ranks() == t.ranks() && u.r.step_number() == 5, "resumed");
    for (int s = 0; s < 2; ++s) of_t.before_step(), of_u.before_step(), require(identical(t.step(), u.step()), "equal");
    u.r.set(u.w[0], "rank", 7);
    for (int s = 0; s < 2; ++s) of_u.before_step(), u.step();
    require(u.ranks().first == 7, "the user's");
    of_u.before_step();
    require(u.ranks().first < 4, "until the next adjustment");
  });
}

namespace {
struct saved_state {
  std::string reducer, ranks;
};
saved_state saved(trainer& t, adaptive_ranks<gradpress::serial> const& ranks) {
  std::ostringstream a, b;
  t.r.save(a), ranks.save(b);
  return {a.str(), b.str()};
}
void resume(trainer& t, adaptive_ranks<gradpress::serial>& ranks, saved_state const& from) {
  std::istringstream a(from.reducer), b(from.ranks);
  t.r.load(a), ranks.load(b);
}
}  // namespace

TEST_CASE("schedule::adaptive_ranks: a resumed run chooses what the other chooses, bit for bit") {
  gradients const from(falling(30, 10, 0.3));
  constexpr l_greco_options o{.every = 5, .window = 3};
  for (std::uint64_t until = 0; until < 12; ++until)
    for (int const when : {0, 1, 2})  // after the step, after before_step, after a step that was taken back
      run_ranks(world, [&](thread_communicator& c) {
        trainer t(c, from, power_sgd(4)), u(c, from, power_sgd(4));
        adaptive_ranks ranks{t.r, o}, resumed{u.r, o};
        for (auto const w : t.w) ranks.add(w);
        while (t.r.step_number() < until) ranks.before_step(), t.step();
        if (when == 2) ranks.before_step(), t.step(false), t.r.rollback();
        if (when == 1) ranks.before_step();
        auto const state = saved(t, ranks);
        u.r.set(u.w[0], "rank", 7);
        for (auto const w : u.w) resumed.add(w);  // a default that is not the other's
        for (int s = 0; s < 4; ++s) resumed.before_step(), u.step();
        resume(u, resumed, state);
        if (when == 0) {
          auto const again = saved(u, resumed);
          require(again.reducer == state.reducer && again.ranks == state.ranks, "the same state");
        }
        int adjustments = 0;
        while (t.r.step_number() < until + 8) {
          ranks.before_step(), resumed.before_step();
          require(t.ranks() == u.ranks(), "the same ranks");
          if (t.r.step_number() > until && t.r.step_number() % o.every == 0) {  // whose sums one step more would change
            auto const &a = ranks.planner().last(), &b = resumed.planner().last();
            require(a.error == b.error && a.budget == b.budget, "the same sums");
            ++adjustments;
          }
          require(identical(t.step(), u.step()), "the same bits");
        }
        require(adjustments > 0 && ranks.planner().last().bytes > 0, "there was a choice");
      });
}

TEST_CASE("schedule::adaptive_ranks: what is saved changes nothing, nor does what is refused") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    trainer t(c, from, power_sgd(4)), u(c, from, power_sgd(4));
    adaptive_ranks ranks{t.r, often}, other{u.r, often};
    for (auto const w : t.w) ranks.add(w);
    for (auto const w : u.w) other.add(w);
    while (t.r.step_number() < 5) {
      ranks.before_step(), t.step();
      other.before_step(), u.step();
    }
    auto const good = saved(t, ranks), before = saved(u, other);
    t.step(false), t.r.rollback();  // what was saved of a step counts in the file alone
    auto const says = [&](adaptive_ranks<gradpress::serial>& to, trainer& of, std::string const& text,
                          char const* what) {
      auto const now = saved(of, to);
      std::istringstream stream(text);
      try {
        to.load(stream);
      } catch (state_error const& e) {
        require(std::string(e.what()).find(what) != std::string::npos, e.what());
        auto const then = saved(of, to);
        return require(then.reducer == now.reducer && then.ranks == now.ranks, "nothing has changed");
      }
      require(false, "accepted");
    };
    says(other, u, good.ranks.substr(0, 300), "truncated");
    auto damaged = good.ranks;
    damaged[damaged.size() / 2] ^= 1;
    says(other, u, damaged, "damaged");
    other.before_step(), u.step();
    says(other, u, good.ranks, "was saved after step 5, this is after 6; load what was saved with it first");
    std::string of_first = good.ranks;
    of_first.resize((of_first.size() + 3) / 4 * 4);
    std::string all(world * of_first.size(), '\0');
    c.all_gather(std::as_bytes(std::span(of_first)), std::as_writable_bytes(std::span(all)));
    if (c.rank() == 1) says(ranks, t, all.substr(0, good.ranks.size()), "is of rank 0; load each rank's own file");
    std::istringstream a(before.reducer), b(before.ranks);
    u.r.load(a), other.load(b);
    for (int s = 0; s < 4; ++s) {
      ranks.before_step(), other.before_step();
      require(t.ranks() == u.ranks() && identical(t.step(), u.step()), "as if nothing had been");
    }
  });
}

TEST_CASE("schedule::adaptive_ranks: mistakes are named") {
  gradients const from;
  run_ranks(world, [&](thread_communicator& c) {
    trainer t(c, from, power_sgd(4));
    auto const sparse = t.r.add("sparse", 10, 10, top_k_sgd());
    adaptive_ranks ranks{t.r};
    auto const says = [&](tensor w, int rank, char const* what) {
      try {
        ranks.add(w, rank);
      } catch (configuration_error const& e) {
        return require(std::string(e.what()).find(what) != std::string::npos, what);
      }
      require(false, "accepted");
    };
    says(sparse, 0, "tensor 'sparse': there is no knob 'rank'");
    says(t.w[0], 33, "tensor 'steep': ranks must lie in 1..32");
    ranks.add(t.w[0]);
    says(t.w[0], 4, "tensor 'steep' was added before");
    require(ranks.planner().size() == 1, "and nothing was added");
  });
}
