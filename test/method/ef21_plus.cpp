// SPDX-License-Identifier: Apache-2.0
#include <gradpress/method/ef21_plus.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/encode/elias_fano.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/averaging.hpp"
#include "../support/composition_laws.hpp"
#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {

/// A slow decay with some noise; every seventh step, one rank after the other, something else altogether.
floats gradient(int rank, int step, std::size_t n) {
  auto const noise = heavy_tailed(n, static_cast<std::uint64_t>(1000 * rank + step + 50));
  if ((step + rank) % 7 == 6) return noise;
  auto g = heavy_tailed(n, static_cast<std::uint64_t>(rank) + 1);
  for (std::size_t i = 0; i < n; ++i) g[i] = g[i] * std::pow(0.97f, static_cast<float>(step)) + 0.05f * noise[i];
  return g;
}
floats minus(floats a, floats const& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}
double distance(floats const& a, floats const& b) { return std::sqrt(squared(minus(a, b))); }
/// The k largest magnitudes.
floats largest(floats const& x, std::size_t k) {
  auto order = x;
  std::sort(order.begin(), order.end(), [](float a, float b) { return std::abs(a) > std::abs(b); });
  floats kept(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::abs(x[i]) >= std::abs(order[k - 1])) kept[i] = x[i];
  return kept;
}
std::string lag_of(int p) { return "rank" + std::to_string(p) + ".lag1"; }

/// Calls with(code) for a code of each kind of message.
template <class F>
void for_each_code(F const& with) {
  with(compress_with());
  with(compress_with(top_k{.density = 0.1}));
  with(compress_with(top_k{.density = 0.1}, elias_fano{}));
  with(compress_with(threshold{.tau = 0.3}));
  with(compress_with(top_k{.density = 0.1}, bf16{}));
  with(compress_with(sign{}));
}
template <class Method>
composition described(Method const& m) {
  composition d;
  d.text = m.text();
  d.fixed_size = false;
  d.add = [m](composition::reducer_type& r, case_tensor const& t) {
    return r.add(t.name, t.dims.rows, t.dims.cols, m);
  };
  return d;
}

using code_of_steps = decltype(compress_with(top_k{}));
/// One rank without a communicator, whose first words show what it chose.
class chooser {
  using coder_type = tensor_coder<host, decltype(ef21_plus(code_of_steps{}))>;
  lone_rank here_{0, 1};
  coder_type coder_;

 public:
  floats estimate;
  std::vector<std::byte> message;

  chooser(std::size_t n, double density, keep_or_restart how = {})
      : coder_(ef21_plus(compress_with(top_k{.density = density}), how), here_.ctx, {n, 1}), estimate(n) {}
  /// Returns the first word.
  std::uint32_t step(floats const& g) {
    message.assign(coder_.capacity(0, 1), {});
    auto const size = coder_.encode(here_.ctx, over(g), bytes<host>(message.data(), message.size()));
    message.resize(size);
    in_bytes<host> const mine(message.data(), size);
    coder_.check(here_.ctx, {{&mine, 1}, arrival_form::each});
    coder_.commit(here_.ctx, over(estimate), {{&mine, 1}, arrival_form::each});
    ++here_.ctx.number;
    here_.release();
    std::uint32_t word = 0;
    std::memcpy(&word, message.data(), 4);
    return word;
  }
  [[nodiscard]] bool keeps(floats const& g) { return (step(g) & 4) != 0; }
};

}  // namespace

TEST_CASE("method::ef21_plus: the rule, written once more, and never a larger error than either choice") {
  constexpr std::size_t n = 200, k = 20;
  constexpr int P = 3, steps = 50;
  std::vector<std::string> wrong(P);
  std::vector<int> kept(P);
  run_ranks(P, [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, ef21_plus(compress_with(top_k{.density = 0.1})));
    floats known(n);
    for (int s = 0; s < steps; ++s) {
      auto const mine = gradient(c.rank(), s, n);
      auto const restarted = largest(mine, k);
      auto const continued = plus(known, largest(minus(mine, known), k));  // what `ef21` makes of it
      auto g = mine;
      r.average(w, std::span(g));
      r.visit(w, [&](char const* name, auto const& b) {
        if (lag_of(c.rank()) == name) known = copied(b);
      });
      auto const off = distance(mine, known), size = std::sqrt(squared(mine));
      if (off > distance(mine, continued) + 1e-6 * size) wrong[p] += "worse than ef21; ";
      if (off > distance(mine, restarted) + 1e-6 * size) wrong[p] += "worse than a code of g; ";
      bool const keeps = s > 0 && distance(mine, continued) < distance(mine, restarted);
      if (distance(known, keeps ? continued : restarted) > 1e-6 * size) wrong[p] += "another estimate; ";
      kept[p] += keeps;
    }
  });
  for (std::size_t p = 0; p < P; ++p) {
    CHECK(wrong[p] == "");
    CHECK(kept[p] > 20);
    CHECK(kept[p] < steps - 5);  // restarts are not for the first step alone
  }
}

TEST_CASE("method::ef21_plus: a gradient that moves slowly keeps, one that turns round restarts, and keeps again") {
  constexpr std::size_t n = 300;
  chooser c(n, 0.1);
  auto g = heavy_tailed(n, 1);
  CHECK(!c.keeps(g));  // nothing is known
  for (int s = 0; s < 12; ++s) {
    for (auto& v : g) v *= 0.98f;
    CHECK(c.keeps(g));
  }
  CHECK(distance(c.estimate, g) < 0.1 * std::sqrt(squared(g)));
  for (auto& v : g) v = -v;
  CHECK(!c.keeps(g));
  CHECK(identical(c.estimate, largest(g, n / 10)));
  for (int s = 0; s < 5; ++s) {
    for (auto& v : g) v *= 0.98f;
    CHECK(c.keeps(g));
  }
  CHECK(!c.keeps(floats(n)));  // a tie would restart; here the code of nothing is exact
  CHECK(squared(c.estimate) == 0);
}

TEST_CASE("method::ef21_plus: the bytes of docs/wire.md") {
  chooser c(4, 0.25, {.check_every = 3});
  auto const words = [&](floats const& g) {
    c.step(g);
    std::vector<std::uint32_t> all(c.message.size() / 4);
    std::memcpy(all.data(), c.message.data(), c.message.size());
    return all;
  };
  auto const first = words({8, 0, 1, 0}), second = words({8, 0, 1, 2}), third = words({8, 0, 1, 2});
  auto const coded = first.size() - 1;  // the code of one entry
  CHECK(first[0] == 0x001);             // restart: nothing is known
  CHECK(second.size() == 1 + coded);    // no coefficient
  CHECK(second[0] == 0x105);            // one is known, and kept
  CHECK(second.back() == bits_of(2));
  CHECK(third.size() == 1 + 2 + coded);
  CHECK(third[0] == 0x107);  // and a checksum, of what two steps made known
  CHECK(third.back() == bits_of(1));
  std::uint64_t sum = 0;
  std::memcpy(&sum, &third[1], 8);
  digest expected;
  expected.add(std::uint64_t{1});
  floats const past{8, 0, 0, 2};
  expected.add(gradpress::checksum(std::as_bytes(std::span(past))));
  CHECK(sum == expected.value());
  CHECK(c.estimate == floats{8, 0, 1, 2});
  CHECK(words({-8, 0, -1, -2})[0] == 0x101);  // restart, although one is known
  CHECK(c.estimate == floats{-8, 0, 0, 0});
}

TEST_CASE("method::ef21_plus: estimates are equal on all ranks for fifty steps, and the update is their mean") {
  constexpr std::size_t n = 301;
  for_each_code([&](auto const& code) {
    for (int const P : {1, 2, 3, 5}) {
      auto const method = ef21_plus(code, {.check_every = 7});
      CAPTURE(method.text());
      CAPTURE(P);
      std::vector<std::vector<std::map<std::string, floats>>> states(static_cast<std::size_t>(P));
      std::vector<std::vector<floats>> updates(static_cast<std::size_t>(P));
      run_ranks(P, [&](thread_communicator& c) {
        auto const p = static_cast<std::size_t>(c.rank());
        reducer r{gradpress::serial{}, c};
        auto const w = r.add("w", n, method);
        for (int s = 0; s < 50; ++s) {
          auto g = gradient(c.rank(), s, n);
          r.average(w, std::span(g));
          updates[p].push_back(g);
          states[p].emplace_back();
          r.visit(w, [&](char const* name, auto const& b) { states[p].back()[name] = copied(b); });
        }
      });
      bool same = true, mean = true;
      for (std::size_t s = 0; s < 50; ++s) {
        std::vector<floats> estimates;
        for (int p = 0; p < P; ++p) {
          auto const at = static_cast<std::size_t>(p);
          estimates.push_back(states[0][s].at(lag_of(p)));
          same = same && identical(updates[at][s], updates[0][s]);
          for (auto const& [name, values] : states[0][s]) same = same && identical(states[at][s].at(name), values);
        }
        mean = mean && identical(updates[0][s], mean_in_order(estimates));
      }
      CHECK(same);
      CHECK(mean);
      CHECK(states[0][0].size() == static_cast<std::size_t>(P));
    }
  });
}

TEST_CASE("method::ef21_plus: with a code that loses nothing it is plain averaging, exactly") {
  for (std::size_t const n : {0u, 1u, 100u}) {
    run_ranks(3, [&](thread_communicator& c) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, ef21_plus(compress_with()));
      for (int s = 0; s < 10; ++s) {
        auto g = gradient(c.rank(), s, n);
        r.average(w, std::span(g));
        if (!identical(g, mean_in_order({gradient(0, s, n), gradient(1, s, n), gradient(2, s, n)})))
          throw std::logic_error("another mean");
      }
    });
  }
}

TEST_CASE("method::ef21_plus: what a difference overflows to is not looked at") {
  chooser c(4, 0.25);
  CHECK(!c.keeps({3e38f, 0, 0, 0}));
  CHECK(!c.keeps({-3e38f, 0, 0, 0}));
  CHECK(c.estimate == floats{-3e38f, 0, 0, 0});
}

TEST_CASE("method::ef21_plus obeys the laws of compositions, gathered and over a server") {
  for_each_code([](auto const& code) {
    for (int const P : {1, 2, 3, 5}) {
      check_composition(described(ef21_plus(code, {.check_every = 3})), P);
      check_composition(described(ef21_plus(code, {.check_every = 3}, parameter_server{.down = bf16{}})), P);
    }
  });
}

TEST_CASE("method::ef21_plus: saves, loads and rolls back; a NaN changes nothing") {
  for_each_code([](auto const& code) {
    check_resumes(ef21_plus(code, {.check_every = 3}));
    check_resumes(ef21_plus(code, {.check_every = 3}, parameter_server{}));
  });
}

TEST_CASE("method::ef21_plus: goes on after a load or a rollback as if nothing had been, while it keeps") {
  constexpr std::size_t n = 120;
  constexpr int before = 9, steps = 25;
  auto const method = ef21_plus(compress_with(top_k{.density = 0.1}), {.check_every = 4});
  run_ranks(3, [&](thread_communicator& c) {
    auto const go_on = [&](auto& r, auto w, int from, int to) {
      recollection seen;
      for (int s = from; s < to; ++s) {
        auto g = gradient(c.rank(), s, n);
        r.average(w, std::span(g));
        seen.updates.push_back(g);
      }
      r.visit(w, [&](char const* name, auto const& b) { seen.state[name] = copied(b); });
      return seen;
    };
    reducer a{gradpress::serial{}, c}, b{gradpress::serial{}, c};
    auto const v = a.add("w", n, method), w = b.add("w", n, method);
    auto const start = go_on(a, v, 0, before);
    std::stringstream file;
    a.save(file);
    go_on(a, v, before, before + 1);
    a.rollback();
    if (!identical({go_on(a, v, before, before)}, {recollection{{}, start.state}}))
      throw std::logic_error("a rollback leaves another state");
    auto const through = go_on(a, v, before, steps);
    b.load(file);
    if (!identical({go_on(b, w, before, steps)}, {through})) throw std::logic_error("another run after a load");
    reducer d{gradpress::serial{}, c};
    auto const x = d.add("w", n, method);
    go_on(d, x, 0, before);
    if (!identical({go_on(d, x, before, steps)}, {through})) throw std::logic_error("another run after a rollback");
  });
}

TEST_CASE("method::ef21_plus over a server gives the bits of a gather, and only the root keeps all estimates") {
  constexpr std::size_t n = 150;
  auto const code = compress_with(top_k{.density = 0.1});
  auto const gathered = remember(3, n, 20, ef21_plus(code)),
             served = remember(3, n, 20, ef21_plus(code, {}, parameter_server{.root = 1}));
  for (std::size_t p = 0; p < 3; ++p) {
    for (std::size_t s = 0; s < 20; ++s) CHECK(identical(gathered[p].updates[s], served[p].updates[s]));
    CHECK(gathered[p].state.size() == 3);
    CHECK(served[p].state.size() == (p == 1 ? 3 : 1));
    CHECK(
        identical(served[p].state.at(lag_of(static_cast<int>(p))), gathered[0].state.at(lag_of(static_cast<int>(p)))));
  }
}

TEST_CASE("method::ef21_plus: a damaged estimate is noticed on all ranks, named, and all can start over") {
  constexpr std::size_t n = 100;
  run_ranks(3, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, ef21_plus(compress_with(top_k{.density = 0.2}), {.check_every = 2}));
    recollection of;
    train(r, w, c.rank(), n, 0, 3, of);
    r.visit(w, [&](char const* name, auto const& b) {
      if (c.rank() == 2 && lag_of(1) == name) b(17) += 1;
    });
    std::string text;
    try {
      train(r, w, c.rank(), n, 3, 4, of);
    } catch (error const& e) {
      text = e.what();
    }
    if (text.find("rank 2: tensor 'w': the past gradients of rank 1 are others here") == std::string::npos)
      throw std::logic_error("not noticed: " + text);
    r.set(w, "resync", 1);
    train(r, w, c.rank(), n, 3, 8, of);
  });
}

TEST_CASE("method::ef21_plus: knobs are checked and changed while it lives") {
  auto const code = compress_with(top_k{.density = 0.1});
  CHECK_THROWS_WITH(check_knobs(ef21_plus(code, {.check_every = -1})),
                    "ef21_plus: check_every must be 0 or more, it is -1");
  CHECK_THROWS_AS(check_knobs(ef21_plus(compress_with(top_k{.density = -1}))), configuration_error);
  CHECK(ef21_plus(code).text() == "ef21_plus of identity|top_k(density=0.1)|none|none|all_gather");
  CHECK((keep_or_restart{.check_every = 5}.checks(4) && !keep_or_restart{.check_every = 5}.checks(5)));
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 100, ef21_plus(code, {.check_every = 0}));
    recollection of;
    auto const bytes_of_step = [&](int s) {
      auto const before = r.stats().bytes_sent;
      train(r, w, c.rank(), 100, s, s + 1, of);
      return r.stats().bytes_sent - before;
    };
    auto const must = [&](bool good, std::string const& what) {
      if (!good) throw std::logic_error(what);
    };
    must(bytes_of_step(0) == 44 + 4 + 80, "a word and ten entries");
    must(bytes_of_step(1) == 44 + 4 + 80, "no coefficient");
    r.set(w, "density", 0.2);
    must(bytes_of_step(2) == 44 + 4 + 160, "with more entries");
    r.set(w, "check_every", 4);
    must(bytes_of_step(3) == 44 + 4 + 8 + 160, "a checksum");
    must(r.knob(w, "check_every") == "4", "knobs read back");
  });
}

TEST_CASE("method::ef21_plus: what a watched tensor leaves behind is what the better code lost") {
  run_ranks(2, [&](thread_communicator& c) {
    constexpr std::size_t n = 200;
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, ef21_plus(compress_with(top_k{.density = 0.1})));
    measurement last;
    r.watch(w, [&](measurement const& m) { last = m; }, {.signals = true});
    for (int s = 0; s < 20; ++s) {
      auto const mine = gradient(c.rank(), s, n);
      auto g = mine;
      r.average(w, std::span(g));
      floats known;
      r.visit(w, [&](char const* name, auto const& b) {
        if (lag_of(c.rank()) == name) known = copied(b);
      });
      if (std::abs(last.left_behind - distance(known, mine)) > 1e-5 * std::sqrt(squared(mine)))
        throw std::logic_error("another norm");
    }
  });
}

TEST_CASE("method::ef21_plus: no message that an honest rank does not write gets through, none changes a state") {
  constexpr std::size_t n = 60;
  auto const method = ef21_plus(compress_with(top_k{.density = 0.1}));
  using coder_type = tensor_coder<host, std::remove_const_t<decltype(method)>>;
  lone_rank here(0, 1);
  coder_type coder(method, here.ctx, {n, 1});
  auto const seen = [](std::vector<std::byte> const& m) { return in_bytes<host>(m.data(), m.size()); };
  auto const check = [&](std::vector<std::byte> const& m) {
    auto const one = seen(m);
    coder.check(here.ctx, {{&one, 1}, arrival_form::each});
    here.release();
  };
  for (int s = 0; s < 4; ++s) {
    auto const g = heavy_tailed(n, 1);
    std::vector<std::byte> good(coder.capacity(0, 1));
    good.resize(coder.encode(here.ctx, over(g), bytes<host>(good.data(), good.size())));
    here.release();
    for (std::size_t size = 0; size < good.size(); ++size)
      CHECK_THROWS_AS(check({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}), payload_error);
    auto longer = good;
    longer.resize(good.size() + 4);
    CHECK_THROWS_AS(check(longer), payload_error);
    for (std::size_t bit = 0; bit < 32; ++bit) {
      if (s > 0 && bit == 2) continue;  // the one choice that a rank has
      auto bent = good;
      bent[bit / 8] ^= std::byte{1} << (bit % 8);
      CHECK_THROWS_AS(check(bent), error);
    }
    check(good);
    floats mean(n);
    auto const one = seen(good);
    coder.commit(here.ctx, over(mean), {{&one, 1}, arrival_form::each});
    ++here.ctx.number;
  }
}

TEST_CASE("method::ef21_plus: descent on quadratics that differ arrives where their mean does") {
  constexpr int P = 4;
  constexpr std::size_t n = 100;
  auto const descend = [&](auto const& method, int steps) {
    double left = 0;
    run_ranks(P, [&](thread_communicator& c) {
      auto const p = static_cast<std::uint64_t>(c.rank());
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, method);
      floats x(n, 3.f);
      auto const centre = heavy_tailed(n, p + 1);
      for (int s = 0; s < steps; ++s) {
        floats g(n);
        for (std::size_t i = 0; i < n; ++i) g[i] = (0.2f + 0.8f * static_cast<float>(i) / n) * (x[i] - 3 * centre[i]);
        r.average(w, std::span(g));
        for (std::size_t i = 0; i < n; ++i) x[i] -= 0.1f * g[i];
      }
      floats optimum(n);
      for (std::uint64_t q = 0; q < P; ++q) optimum = plus(optimum, heavy_tailed(n, q + 1));
      for (auto& v : optimum) v *= 3.f / P;
      if (p == 0) left = distance(x, optimum);
    });
    return left;
  };
  auto const code = top_k{.density = 0.05};
  auto const plain = descend(compress_with(code), 600), memory = descend(compress_with(code, ef21{}), 600),
             better = descend(ef21_plus(compress_with(code)), 600);
  MESSAGE("distance to the optimum, from 30: top_k alone ", plain, "; ef21 ", memory, "; ef21_plus ", better);
  CHECK(plain > 1);
  CHECK(better < 1e-3);
}
