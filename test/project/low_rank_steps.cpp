// SPDX-License-Identifier: Apache-2.0
// What low_rank does in a reducer beyond one plain step.
#include <gradpress/project/alternating_low_rank.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/reducer.hpp>

#include "../support/low_rank_matrices.hpp"

#include <atomic>
#include <sstream>

using namespace gradpress;
using namespace gradpress::test;

namespace {
using host_reducer = reducer<gradpress::serial>;
using tensor = host_reducer::tensor;

/// Nearly normal: sums of twelve uniform numbers.
floats gradient(shape d, std::uint64_t step, int rank) {
  auto const k = key{100 * step + static_cast<std::uint64_t>(rank)};
  floats g(d.size(), -6.f);
  for (std::size_t i = 0; i < 12 * g.size(); ++i) g[i / 12] += k.uniform(i);
  return g;
}
floats average(host_reducer& r, tensor t, shape d, std::uint64_t s) {
  auto g = gradient(d, s, r.rank());
  r.average(t, std::span(g));
  return g;
}
floats memory_of(host_reducer& r, tensor t) {
  floats all;
  r.visit(t, [&](char const* name, auto const& b) {
    if (std::string(name) == "residual") all = copied(b);
  });
  return all;
}
double norm(floats const& x) { return std::sqrt(squared(x)); }
double apart(floats const& a, floats const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum);
}
floats mean_of(shape d, std::uint64_t s, int ranks) {
  floats m(d.size());
  for (int p = 0; p < ranks; ++p) {
    auto const g = gradient(d, s, p);
    for (std::size_t i = 0; i < m.size(); ++i) m[i] += g[i];
  }
  for (auto& v : m) v /= static_cast<float>(ranks);
  return m;
}
/// low_rank that relieves the memory at once.
struct prompt_low_rank : low_rank {
  template <class... Any>
  bool project_owed(Any&&...) const = delete;
};
struct prompt_turns : alternating_low_rank {
  template <class... Any>
  bool project_owed(Any&&...) const = delete;
};
static_assert(projector<prompt_low_rank> && projector<prompt_turns>);
}  // namespace

namespace {
/// A thousand steps of a projector that lets the memory owe, and of its twin that does not.
template <class Late, class Prompt>
void check_owed(Late const& owing, Prompt const& paying, bool coded) {
  run_ranks(2, [&](thread_communicator& c) {
    shape const d{20, 33};
    host_reducer late{gradpress::serial{}, c}, prompt{gradpress::serial{}, c};
    auto const add = [&](host_reducer& r, auto const& p) {
      error_feedback const memory{.units = residual_units::model};
      r.learning_rate(1);
      if (coded) return r.add("w", d.rows, d.cols, compress_with(p, log_quantizer{}, memory));
      return r.add("w", d.rows, d.cols, compress_with(p, memory));
    };
    auto const a = add(late, owing), b = add(prompt, paying);
    for (std::uint64_t s = 0; s < 1000; ++s) {
      require(identical(average(late, a, d, s), average(prompt, b, d, s)), "the same update");
      auto const what = key{3}.bits(s) % 16;
      if (what == 0) require(identical(memory_of(late, a), memory_of(prompt, b)), "the same memory");
      if (what < 3) {
        late.rollback(), prompt.rollback();
        if (what == 1) require(identical(memory_of(late, a), memory_of(prompt, b)), "the same after a rollback");
      }
      if (what == 4) {
        for (auto* r : {&late, &prompt}) {
          auto const t = r == &late ? a : b;
          r->set(t, "rank", 2 + static_cast<int>(s % 3));
        }
        if (s % 2 == 0) late.rollback(), prompt.rollback();
      }
      if (what == 7) late.set(a, "decay", s % 5 == 0 ? 0.5 : 1), prompt.set(b, "decay", s % 5 == 0 ? 0.5 : 1);
      if (what == 8 || what == 9) {
        auto const rate = 0.01 * static_cast<double>(1 + key{4}.bits(s) % 100);
        late.learning_rate(rate), prompt.learning_rate(rate);
        if (what == 9 && s % 2 == 0) require(identical(memory_of(late, a), memory_of(prompt, b)), "the same rescaled");
        if (s % 3 == 0) late.rollback(), prompt.rollback();
      }
      if (what == 5) {
        std::ostringstream from_late, from_prompt;
        late.save(from_late), prompt.save(from_prompt);
        require(from_late.str() == from_prompt.str(), "the same file");
        std::istringstream file(from_late.str());
        late.load(file);
      }
      if (what == 6) {  // a failed step
        auto bad = gradient(d, s, c.rank());
        if (c.rank() == 1) bad[7] = std::numeric_limits<float>::quiet_NaN();
        for (auto* r : {&late, &prompt}) {
          bool refused = false;
          try {
            auto copy = bad;
            r->average(r == &late ? a : b, std::span(copy));
          } catch (non_finite_error const&) {
            refused = true;
          }
          require(refused, "NaN is refused");
        }
      }
    }
  });
}
}  // namespace

TEST_CASE("reducer: what low_rank owes the memory changes no bit, whoever looks in between") {
  for (bool const coded : {false, true}) check_owed(low_rank{.rank = 3}, prompt_low_rank{{.rank = 3}}, coded);
}
TEST_CASE("reducer: what alternating_low_rank owes the memory changes no bit, in either turn") {
  for (bool const coded : {false, true}) check_owed(alternating_low_rank{.rank = 3}, prompt_turns{{.rank = 3}}, coded);
}

TEST_CASE("reducer: low_rank sends whole what its factors would not make smaller") {
  run_ranks(2, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    shape const bias{37, 1}, small{4, 5}, large{40, 30};
    auto const method = compress_with(low_rank{.rank = 3}, error_feedback{});
    auto const b = r.add("b", bias.rows, bias.cols, method), s = r.add("s", small.rows, small.cols, method);
    auto const l = r.add("l", large.rows, large.cols, method);
    auto gb = gradient(bias, 1, c.rank()), gs = gradient(small, 1, c.rank()), gl = gradient(large, 1, c.rank());
    r.stage(b, std::span(gb)), r.stage(s, std::span(gs)), r.stage(l, std::span(gl));
    r.average();
    require(r.stats().sent_dense == 2, "two of three travel whole");
    require(apart(gb, mean_of(bias, 1, 2)) < 1e-6, "the vector's mean is exact");
    require(apart(gs, mean_of(small, 1, 2)) < 1e-6, "the small matrix' mean is exact");
    require(norm(memory_of(r, b)) == 0 && norm(memory_of(r, s)) == 0, "nothing is left behind");
    require(norm(memory_of(r, l)) > 0, "the large matrix is compressed");
    host_reducer never{gradpress::serial{}, c};
    auto const n = never.add("b", 37, 1, compress_with(low_rank{.minimum_rate = 0}, error_feedback{}));
    average(never, n, bias, 1);
    require(never.stats().sent_dense == 0, "minimum_rate 0 never sends whole");
    host_reducer ten{gradpress::serial{}, c};
    average(ten, ten.add("l", 40, 30, compress_with(low_rank{.rank = 3, .minimum_rate = 6}, error_feedback{})), large,
            1);
    require(ten.stats().sent_dense == 1, "1200 / 210 is less than 6");
  });
}

TEST_CASE("reducer: low_rank sends its first steps whole, and starts with an empty memory") {
  run_ranks(2, [&](thread_communicator& c) {
    shape const d{20, 30};
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2, .start = 3}, error_feedback{}));
    for (std::uint64_t s = 0; s < 3; ++s) {
      require(apart(average(r, w, d, s), mean_of(d, s, 2)) < 1e-5, "whole");
      require(norm(memory_of(r, w)) == 0, "empty");
    }
    require(apart(average(r, w, d, 3), mean_of(d, 3, 2)) > 0.1, "compressed from then on");
    auto const after = memory_of(r, w);
    r.rollback();
    require(norm(memory_of(r, w)) == 0, "a rollback of the first compressed step empties it again");
    average(r, w, d, 3);
    require(identical(after, memory_of(r, w)), "and the step repeated ends where it did");
    require(r.stats().sent_dense == 3, "three whole");
  });
}

TEST_CASE("reducer: more iterations of low_rank come closer to the best approximation, in two messages each") {
  shape const d{50, 40};
  auto const error = [&](int iterations) {
    double lost = 0;
    run_ranks(2, [&](thread_communicator& c) {
      host_reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2, .iterations = iterations}));
      auto const update = average(r, w, d, 1);
      require(r.stats().messages == 2 * static_cast<std::uint64_t>(iterations), "two messages an iteration");
      if (c.rank() == 0) lost = apart(update, mean_of(d, 1, 2));
    });
    return lost;
  };
  auto const one = error(1), two = error(2), four = error(4), eight = error(8);
  CHECK(two < one);
  CHECK(four < two);
  CHECK(eight <= four * (1 + 1e-6));
}

TEST_CASE("reducer: the two memory rules of low_rank give the same updates, and the local one smaller memories") {
  run_ranks(4, [&](thread_communicator& c) {
    shape const d{5, 4};
    host_reducer a{gradpress::serial{}, c}, b{gradpress::serial{}, c};
    auto const local = a.add("w", d.rows, d.cols, power_sgd(2));
    auto const global =
        b.add("w", d.rows, d.cols, compress_with(low_rank{.rank = 2, .memory = memory_rule::global}, error_feedback{}));
    for (std::uint64_t s = 0; s < 50; ++s) {
      auto const x = average(a, local, d, s), y = average(b, global, d, s);
      // In exact arithmetic they are equal; rounding grows as in any iteration on singular vectors.
      require(apart(x, y) < (s < 20 ? 5e-5 : 5e-3) * norm(x), "the same trajectory");
    }
    require(norm(memory_of(a, local)) < 0.3 * norm(memory_of(b, global)), "smaller memories");
  });
}

namespace {
using doubles = std::vector<double>;

/// PowerSGD over all ranks in plain double arithmetic: algorithms 1 and 2 of the paper, with either memory rule.
struct reference {
  shape d;
  std::size_t r;
  memory_rule rule;
  std::vector<doubles> memory;  // by rank
  doubles Q, model;

  reference(shape dims, std::size_t rank, memory_rule m, int ranks, floats const& start)
      : d(dims),
        r(rank),
        rule(m),
        memory(static_cast<std::size_t>(ranks), doubles(dims.size())),
        Q(start.begin(), start.end()),
        model(dims.size()) {}

  /// Returns the update.
  doubles step(std::vector<floats> const& gradients) {
    auto const n = d.size();
    auto const share = 1 / static_cast<double>(memory.size());
    doubles P(d.rows * r), mean(d.cols * r), update(n);
    auto signal = memory;
    for (std::size_t p = 0; p < memory.size(); ++p)
      for (std::size_t i = 0; i < n; ++i) {
        signal[p][i] += static_cast<double>(gradients[p][i]);
        for (std::size_t l = 0; l < r; ++l) P[i / d.cols * r + l] += share * signal[p][i] * Q[i % d.cols * r + l];
      }
    orthonormalise(P);
    std::vector<doubles> own(memory.size(), doubles(d.cols * r));
    for (std::size_t p = 0; p < memory.size(); ++p) {
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t l = 0; l < r; ++l) own[p][i % d.cols * r + l] += signal[p][i] * P[i / d.cols * r + l];
      for (std::size_t j = 0; j < mean.size(); ++j) mean[j] += share * own[p][j];
    }
    auto const product = [&](doubles const& right, std::size_t i) {
      double sum = 0;
      for (std::size_t l = 0; l < r; ++l) sum += P[i / d.cols * r + l] * right[i % d.cols * r + l];
      return sum;
    };
    for (std::size_t i = 0; i < n; ++i) update[i] = product(mean, i), model[i] -= update[i];
    for (std::size_t p = 0; p < memory.size(); ++p)
      for (std::size_t i = 0; i < n; ++i)
        memory[p][i] = signal[p][i] - product(rule == memory_rule::local ? own[p] : mean, i);
    Q = mean;
    return update;
  }

 private:
  void orthonormalise(doubles& P) const {  // Gram and Schmidt, twice
    for (std::size_t l = 0; l < r; ++l)
      for (int pass = 0; pass < 2; ++pass) {
        for (std::size_t k = 0; k < l; ++k) {
          double dot = 0;
          for (std::size_t i = 0; i < d.rows; ++i) dot += P[i * r + k] * P[i * r + l];
          for (std::size_t i = 0; i < d.rows; ++i) P[i * r + l] -= dot * P[i * r + k];
        }
        double square = 0;
        for (std::size_t i = 0; i < d.rows; ++i) square += P[i * r + l] * P[i * r + l];
        for (std::size_t i = 0; i < d.rows; ++i) P[i * r + l] /= std::sqrt(square);
      }
  }
};
double apart(doubles const& a, doubles const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}
double norm(doubles const& x) { return apart(x, doubles(x.size())); }
/// Q before the first step, out of a checkpoint.
template <class Method>
floats start_of(host_reducer& r, shape d, std::size_t rank, Method const& method) {
  std::ostringstream file;
  r.save(file);
  std::istringstream from(file.str());
  floats Q(d.cols * rank), memory(d.size());
  std::vector<checkpoint::field> const fields = {{"w", method.text(), "factor", Q},
                                                 {"w", method.text(), "residual", memory}};
  checkpoint::read(from, {static_cast<std::uint32_t>(r.rank()), static_cast<std::uint32_t>(r.size()), 0, r.seed()},
                   fields);
  return Q;
}
}  // namespace

TEST_CASE(
    "reducer: both memory rules of low_rank have one trajectory, to 1e-12 in double, and the library follows it") {
  constexpr int P = 4;
  shape const d{12, 9};
  // Two directions that stand out of the noise of each rank: in noise alone rounding grows a thousandfold in ten steps.
  auto const main = times(10.f, of_rank(1, d, 1)), second = times(4.f, of_rank(1, d, 2));
  std::atomic<int> compared = 0;
  run_ranks(P, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const method = power_sgd(2);
    auto const w = r.add("w", d.rows, d.cols, method);
    auto const start = start_of(r, d, 2, method);
    reference local(d, 2, memory_rule::local, P, start), global(d, 2, memory_rule::global, P, start);
    doubles model(d.size());
    for (std::uint64_t s = 0; s < 50; ++s) {
      std::vector<floats> g;
      for (int p = 0; p < P; ++p) {
        g.push_back(gradient(d, s, p));
        for (std::size_t i = 0; i < d.size(); ++i) g.back()[i] += main[i] + second[i];
      }
      auto const step = norm(local.step(g));
      global.step(g);
      auto own = g[static_cast<std::size_t>(c.rank())];
      r.average(w, std::span(own));
      for (std::size_t i = 0; i < model.size(); ++i) model[i] -= static_cast<double>(own[i]);
      require(apart(local.model, global.model) <= 1e-12 * step, "one trajectory");
      require(apart(model, local.model) <= 1e-6 * norm(local.model), "and the library's");
      auto const& mine = local.memory[static_cast<std::size_t>(c.rank())];
      auto const kept = memory_of(r, w);
      require(apart(doubles(kept.begin(), kept.end()), mine) <= 1e-4 * norm(mine), "with the local rule's memory");
      ++compared;
    }
    require(norm(local.memory[0]) < 0.7 * norm(global.memory[0]), "the rules differ");
  });
  CHECK(compared == 50 * P);
}

TEST_CASE("reducer: another rank of a live low_rank keeps the memory and what columns it has") {
  run_ranks(2, [&](thread_communicator& c) {
    shape const d{30, 20};
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, power_sgd(2));
    average(r, w, d, 0);
    auto const memory = memory_of(r, w);
    r.set(w, "rank", 5);
    require(identical(memory, memory_of(r, w)), "the memory stays");
    auto const before = r.stats().bytes_sent;
    average(r, w, d, 1);
    require(r.stats().bytes_sent - before >= 4 * 5 * 50, "five columns travel");
    r.rollback();
    require(identical(memory, memory_of(r, w)), "a rollback finds it again");
    auto const again = average(r, w, d, 1);
    r.set(w, "rank", 1);
    r.rollback();  // of the step before the change
    require(identical(memory, memory_of(r, w)), "a rollback across a change finds it, too");
    require(apart(again, average(r, w, d, 1)) > 0, "and one column differs from five");
    std::ostringstream file;
    r.save(file);
    auto const next = average(r, w, d, 2);
    host_reducer other{gradpress::serial{}, c};
    auto const o = other.add("w", d.rows, d.cols, power_sgd(2));
    std::istringstream again_from(file.str());
    other.load(again_from);
    require(identical(next, average(other, o, d, 2)), "a file holds the rank");
  });
}

TEST_CASE("reducer: a rank that warms up or down by a schedule conserves everything that ranks handed in") {
  for (bool const coded : {false, true})
    run_ranks(3, [&](thread_communicator& c) {
      shape const d{30, 20};
      host_reducer r{gradpress::serial{}, c};
      auto const w = coded ? r.add("w", d.rows, d.cols, lq_sgd(4, 8)) : r.add("w", d.rows, d.cols, power_sgd(4));
      r.follow(w, "rank", [](std::uint64_t s) { return static_cast<double>(1 + (7 * s) % 9); });
      std::vector<float> mine(d.size());
      std::vector<double> gone(d.size());
      for (std::uint64_t s = 0; s < 12; ++s) {
        auto const g = gradient(d, s, c.rank());
        auto const u = average(r, w, d, s);
        for (std::size_t i = 0; i < g.size(); ++i) mine[i] += g[i], gone[i] += 3 * static_cast<double>(u[i]);
      }
      auto const kept = memory_of(r, w);
      for (std::size_t i = 0; i < kept.size(); ++i) mine[i] -= kept[i];
      c.all_reduce_sum(std::span(mine));
      double lost = 0, all = 0;
      for (std::size_t i = 0; i < gone.size(); ++i) {
        lost += std::pow(static_cast<double>(mine[i]) - gone[i], 2);
        all += gone[i] * gone[i];
      }
      require(lost < 1e-8 * all, "something was lost");
    });
}

TEST_CASE("reducer: statistics count the columns that were drawn anew") {
  run_ranks(2, [&](thread_communicator& c) {
    shape const d{20, 30};
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, power_sgd(2));
    floats zeros(d.size());
    r.average(w, std::span(zeros));
    require(r.stats().redrawn == 2, "both columns");
    average(r, w, d, 1);
    require(r.stats().redrawn == 2, "and none of a living gradient");
  });
}

TEST_CASE("reducer: a rollback of steps that travelled whole leaves factors, turns and clocks as they were") {
  run_ranks(2, [&](thread_communicator& c) {
    shape const d{20, 30};
    auto const check = [&](auto const& projector, char const* what) {
      host_reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", d.rows, d.cols, compress_with(projector, error_feedback{}));
      for (std::uint64_t s = 0; s < 6; ++s) {
        std::ostringstream before, after;
        r.save(before);
        average(r, w, d, s);
        r.rollback();
        r.save(after);
        require(before.str() == after.str(), what);
        average(r, w, d, s);
      }
    };
    check(low_rank{.rank = 2, .start = 3}, "low_rank");
    check(alternating_low_rank{.rank = 2, .start = 3}, "alternating_low_rank");
    check(refreshed_low_rank{.rank = 2, .every = 1}, "refreshed_low_rank, whole in each step");
    check(refreshed_low_rank{.rank = 2, .every = 2}, "refreshed_low_rank");
  });
}
