// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include "../support/lone_rank.hpp"

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/metrics/csv.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/select/threshold.hpp>

#include <doctest/doctest.h>

#include <map>
#include <sstream>

using namespace gradpress;
using test::floats;

namespace {
using host_reducer = reducer<gradpress::serial>;
constexpr std::size_t n = 600;

void require(bool good, std::string const& what) {
  if (!good) throw std::runtime_error(what);
}
template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (std::exception const& e) {
    return e.what();
  }
  return "accepted";
}
bool near(double a, double b, double tolerance = 1e-6) {
  return std::abs(a - b) <= tolerance * std::max(std::abs(a), std::abs(b)) + 1e-12;
}
floats gradient(int rank, std::uint64_t step) {
  return test::heavy_tailed(n, 100 * step + static_cast<std::uint64_t>(rank) + 1);
}
double norm_of(floats const& x) { return std::sqrt(test::squared(x)); }
floats memory_of(host_reducer& r, host_reducer::tensor t, std::string const& name) {
  floats all;
  r.visit(t, [&](char const* called, auto const& b) {
    if (called == name) all = test::copied(b);
  });
  return all;
}
double share_of_nonzero(floats const& x) {
  return static_cast<double>(std::count_if(x.begin(), x.end(), [](float v) { return v != 0; })) /
         static_cast<double>(x.size());
}
/// Takes `steps` steps of one watched tensor and hands each measurement to `look`, with what went in and came out.
using look_at = std::function<void(measurement const&, floats const&, floats const&, floats const&)>;
template <class Method>
void watch_alone(Method const& method, int P, look_at const& look, shape d = {n, 1}) {
  run_ranks(P, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, method);
    measurement m;
    int told = 0;
    r.watch(w, [&](measurement const& now) { m = now, ++told; });
    std::uint64_t sent = 0;
    for (std::uint64_t s = 0; s < 3; ++s) {
      auto const g = gradient(c.rank(), s);
      auto update = g;
      auto const before = memory_of(r, w, "residual");
      r.average(w, std::span(update));
      require(told == static_cast<int>(s) + 1 && m.tensor == "w" && m.step == s && m.elements == n, "who and when");
      sent += m.bytes_sent;
      require(sent == r.stats().bytes_sent, "bytes are not those of the statistics");
      require(near(m.update_density, share_of_nonzero(update)), "update density");
      require(m.encode_seconds > 0 && m.exchange_seconds > 0 && m.decode_seconds > 0, "no time");
      require(!m.assumption, "not asked for");
      look(m, before.empty() ? g : test::plus(g, before), update, memory_of(r, w, "residual"));
    }
  });
}
}  // namespace

TEST_CASE("reducer: a watched tensor's bytes, norms and densities are those of what was sent") {
  SUBCASE("gathered with a memory") {
    watch_alone(top_k_sgd(0.05), 4, [](measurement const& m, floats const& a, floats const&, floats const& e) {
      require(near(m.signal, norm_of(a)), "signal");
      require(near(m.left_behind, norm_of(e)), "what is left is the memory");
      require(m.bytes_sent == 32 + 8 * 30 && m.bytes_received == 3 * m.bytes_sent, "bytes");
      require(near(m.ratio(), 2400.0 / 272), "ratio");
    });
  }
  SUBCASE("gathered, variable size: the sizes travel too") {
    watch_alone(compress_with(threshold{.tau = 0.5}, error_feedback{}), 2,
                [](measurement const& m, floats const& a, floats const&, floats const& e) {
                  require(near(m.signal, norm_of(a)) && near(m.left_behind, norm_of(e)), "norms");
                  require(m.bytes_received > 8, "received");
                });
  }
  SUBCASE("a tree: what merges drop is not left behind by the message") {
    watch_alone(gtop_k_sgd(0.05), 4, [](measurement const& m, floats const& a, floats const& u, floats const&) {
      require(near(m.signal, norm_of(a)), "signal");
      std::vector<double> squares;
      for (auto const v : a) squares.push_back(static_cast<double>(v) * static_cast<double>(v));
      std::sort(squares.begin(), squares.end());
      double small = 0;
      for (std::size_t i = 0; i < n - 30; ++i) small += squares[i];
      require(near(m.left_behind, std::sqrt(small)), "left behind");
      require(near(m.update_density, 0.05) && share_of_nonzero(u) > 0, "k entries");
    });
  }
  SUBCASE("without a memory") {
    watch_alone(compress_with(bf16{}), 3, [](measurement const& m, floats const& a, floats const&, floats const&) {
      floats lost(n);
      for (std::size_t i = 0; i < n; ++i) lost[i] = a[i] - to_float(narrow<bfloat16>(a[i]));
      require(near(m.signal, norm_of(a)) && near(m.left_behind, norm_of(lost)), "norms");
      require(m.bytes_sent == 1200 && m.bytes_received == 1200, "a sum comes once");
    });
  }
  SUBCASE("sparse without a memory: one rank, so that what is left can be seen") {
    watch_alone(compress_with(top_k{.density = 0.1}), 1,
                [](measurement const& m, floats const& a, floats const& u, floats const&) {
                  floats lost(n);
                  for (std::size_t i = 0; i < n; ++i) lost[i] = a[i] - u[i];
                  require(near(m.left_behind, norm_of(lost)) && m.bytes_received == 0, "left behind");
                });
  }
  SUBCASE("chunks at owners, and codes that are fused with the memory") {
    watch_alone(compress_with(stochastic_int{.bits = 4, .block = 64}, error_feedback{}, scatter_reduce{}), 3,
                [](measurement const& m, floats const& a, floats const&, floats const&) {
                  require(near(m.signal, norm_of(a)), "signal");
                  require(m.left_behind > 0 && m.left_behind < m.signal, "left behind");
                  require(3 * m.bytes_received == 4 * m.bytes_sent, "two blocks of each of the others");
                });
    watch_alone(ef_sign_sgd(), 2, [](measurement const& m, floats const& a, floats const&, floats const& e) {
      require(near(m.signal, norm_of(a)) && near(m.left_behind, norm_of(e)), "norms");
    });
  }
  SUBCASE("agreed codes, two phases") {
    watch_alone(tern_grad(), 2, [](measurement const& m, floats const& a, floats const&, floats const&) {
      require(near(m.signal, norm_of(a)) && m.left_behind > 0, "norms");
    });
  }
  SUBCASE("low rank, with and without a memory") {
    auto const with = [](measurement const& m, floats const& a, floats const&, floats const& e) {
      require(near(m.signal, norm_of(a)) && near(m.left_behind, norm_of(e), 1e-4), "what is left is the memory");
    };
    watch_alone(power_sgd(2), 2, with, {20, 30});
    auto const without = [](measurement const& m, floats const& a, floats const& u, floats const&) {
      floats lost(n);
      for (std::size_t i = 0; i < n; ++i) lost[i] = a[i] - u[i];
      require(near(m.signal, norm_of(a)) && near(m.left_behind, norm_of(lost), 1e-4), "left behind");
    };
    watch_alone(compress_with(low_rank{.rank = 3}), 1, without, {20, 30});
  }
  SUBCASE("EF21: the signal is the change of the gradient") {
    watch_alone(compress_with(top_k{.density = 0.1}, ef21{}), 2,
                [](measurement const& m, floats const& a, floats const&, floats const&) {
                  if (m.step == 0) require(near(m.signal, norm_of(a)), "at first all of it");
                  require(m.left_behind > 0 && m.left_behind < m.signal, "left behind");
                });
  }
}

TEST_CASE("reducer: the bytes of tensors that share messages add up to what was sent") {
  run_ranks(3, [](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    std::vector<host_reducer::tensor> t = {r.add("a", 100, 1, top_k_sgd(0.1)), r.add("b", 17, 1, top_k_sgd(0.1)),
                                           r.add("c", 0, 1, top_k_sgd(0.1)), r.add("d", 31), r.add("e", 1)};
    auto const g = r.add_group("g", {{"x", 10}, {"y", 20}}, top_k_sgd(0.1));
    t.insert(t.end(), g.begin(), g.end());
    std::map<std::string, measurement> seen;
    for (std::size_t i = 0; i < 6; ++i) r.watch(t[i], [&](measurement const& m) { seen[std::string(m.tensor)] = m; });
    std::size_t const sizes[] = {100, 17, 0, 31, 1, 10, 20};
    std::vector<floats> grads;
    for (auto const size : sizes) grads.push_back(test::heavy_tailed(size, 3));
    for (std::size_t i = 0; i < 7; ++i) r.stage(t[i], std::span(grads[i]));
    r.average();
    std::uint64_t sent = 0, received = 0;
    for (auto const& [name, m] : seen) sent += m.bytes_sent, received += m.bytes_received;
    require(seen.size() == 6 && seen.contains("g") && seen["g"].elements == 30, "a group is one");
    require(sent == r.stats().bytes_sent, "sent");
    auto const gathered = 32 + 8 * (10 + 1 + 0 + 3), summed = 4 * 32;
    require(sent == gathered + summed && received == 2 * gathered + summed, "received");
    require(seen["c"].bytes_sent == 0 && seen["c"].ratio() == 0 && seen["c"].update_density == 0, "an empty tensor");
  });
}

TEST_CASE("reducer: the gTop-k assumption holds for like gradients, and fails where large ones cancel") {
  run_ranks(4, [](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, gtop_k_sgd(0.05)), v = r.add("v", n, 1, gtop_k_sgd(0.05));
    measurement m;
    r.watch(w, [&](measurement const& now) { m = now; }, {.assumption = true});
    floats g = test::heavy_tailed(n), other = g;
    auto const whole = g;
    r.stage(w, std::span(g)), r.stage(v, std::span(other));
    r.average();
    floats lost(n);
    for (std::size_t i = 0; i < n; ++i) lost[i] = whole[i] - g[i];
    auto const expected = norm_of(lost) / (std::sqrt(0.95) * norm_of(whole));
    require(m.assumption && near(*m.assumption, expected, 1e-5) && expected < 1, "the same gradient everywhere");
    require(r.stats().control_bytes == 80 + 16 + 4 * n, "a dense sum");

    // Rank r and its neighbour have large opposite entries at the same places, and all share a small constant.
    host_reducer bad{gradpress::serial{}, c};
    auto const b = bad.add("b", n, 1, top_k_sgd(0.01));
    bad.watch(b, [&](measurement const& now) { m = now; }, {.assumption = true});
    floats h(n, 0.1f);
    for (std::size_t i = 0; i < 6; ++i)
      h[i + 6 * static_cast<std::size_t>(c.rank() / 2)] = c.rank() % 2 == 0 ? 50 : -50;
    bad.average(b, std::span(h));
    require(m.assumption && *m.assumption >= 1, "what was sent is worth nothing");
  });
}

namespace {
template <class Method>
void check_sums(Method const& method, shape d) {
  run_ranks(3, [&](thread_communicator& c) {
    host_reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", d.rows, d.cols, method);
    int told = 0;
    floats expected(n);
    auto const look = [&](measurement const& m) {
      require(m.rows == d.rows && m.cols == d.cols && m.sum.size() == n, "its shape");
      require(test::identical({m.sum.begin(), m.sum.end()}, expected), "the sum");
      require(m.assumption.has_value() == (c.rank() == 0), "only what was asked for");
      ++told;
    };
    // Either reason forms the same sum, once.
    r.watch(w, look, {.assumption = c.rank() == 0, .signals = true});
    for (std::uint64_t s = 0; s < 3; ++s) {
      auto g = gradient(c.rank(), s);
      auto const memory = memory_of(r, w, "residual");
      expected = memory.empty() ? g : test::plus(g, memory);
      c.all_reduce_sum(std::span(expected));
      auto const before = r.stats().control_bytes;
      r.average(w, std::span(g));
      require(r.stats().control_bytes - before == 80 + 16 + 4 * n, "one dense sum");
      require(told == static_cast<int>(s) + 1, "told");
    }
    for (bool const assumption : {true, false}) {
      // Rank 0 for one reason and the others for the other; without a reason there is none.
      r.watch(w,
              [&](measurement const& m) {
                require(m.sum.empty(), "not asked for");
                ++told;
              },
              {.assumption = assumption});
      if (assumption && c.rank() > 0)
        r.watch(w,
                [&](measurement const& m) {
                  require(m.sum.size() == n && !m.assumption, "asked for");
                  ++told;
                },
                {.signals = true});
      auto g = gradient(c.rank(), 5);
      r.average(w, std::span(g));
    }
    require(told == 5, "told in the end");
  });
}
}  // namespace

TEST_CASE("reducer: an observer may ask for the sum of all signals") {
  check_sums(top_k_sgd(0.05), {n, 1});
  check_sums(power_sgd(2), {20, 30});
  check_sums(lq_sgd(2, 8), {20, 30});
  check_sums(compress_with(bf16{}), {20, 30});
}

TEST_CASE("reducer: ranks that do not ask for the same sums are told so; nothing hangs") {
  for (bool const signals : {false, true}) {
    std::vector<std::string> said(2);
    run_ranks(2, [&](thread_communicator& c) {
      host_reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", n, 1, top_k_sgd());
      auto const ignore = [](measurement const&) {};
      if (c.rank() == 1)
        r.watch(w, ignore, signals ? watch_options{.signals = true} : watch_options{.assumption = true});
      auto g = gradient(0, 0);
      said[static_cast<std::size_t>(c.rank())] = message_of([&] { r.average(w, std::span(g)); });
      if (c.rank() == 1) r.watch(w, nullptr);
      r.average(w, std::span(g));
      if (c.rank() == 0) r.watch(w, ignore);  // watching alone is a rank's own affair
      r.average(w, std::span(g));
      // A rank without numbers, while sums are asked for.
      r.watch(w, ignore, {.assumption = true});
      auto bad = gradient(0, 1);
      if (c.rank() == 0) bad[3] = std::numeric_limits<float>::infinity();
      require(message_of([&] { r.average(w, std::span(bad)); }).find("not finite") != std::string::npos, "must fail");
      r.average(w, std::span(g));
    });
    CHECK(said[0] == said[1]);
    CHECK(said[0].find("methods of rank 1") != std::string::npos);
  }
}

TEST_CASE("reducer: watching changes no bit, and ends") {
  run_ranks(2, [](thread_communicator& c) {
    host_reducer a{gradpress::serial{}, c}, b{gradpress::serial{}, c};
    auto const methods = [&](host_reducer& r) {
      return std::vector{r.add("t", n, 1, top_k_sgd(0.05)), r.add("p", 20, 30, power_sgd(2)),
                         r.add("q", n, 1, ef_sign_sgd()), r.add("n", n, 1, tern_grad())};
    };
    auto const ta = methods(a), tb = methods(b);
    int told = 0;
    for (auto const t : tb) b.watch(t, [&](measurement const&) { ++told; }, {.assumption = true});
    for (std::uint64_t s = 0; s < 4; ++s) {
      std::vector<floats> x(4, gradient(c.rank(), s)), y = x;
      for (std::size_t i = 0; i < 4; ++i) a.stage(ta[i], std::span(x[i])), b.stage(tb[i], std::span(y[i]));
      a.average();
      b.average();
      for (std::size_t i = 0; i < 4; ++i) require(test::identical(x[i], y[i]), "another update");
    }
    require(told == 16, "each tensor, each step");
    for (auto const t : tb) b.watch(t, nullptr);
    auto g = gradient(0, 0);
    b.average(tb[0], std::span(g));
    require(told == 16, "still told");
  });
}

TEST_CASE("reducer: measurements as lines of a file") {
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, top_k_sgd(0.05)), v = r.add("v", 4);
  std::ostringstream file;
  csv_writer csv{file};
  r.watch(w, std::ref(csv));
  r.watch(v, std::ref(csv));
  for (std::uint64_t s = 0; s < 2; ++s) {
    auto g = gradient(0, s);
    floats h(4, 1.f);
    r.stage(w, std::span(g)), r.stage(v, std::span(h));
    r.average();
  }
  std::istringstream lines(file.str());
  std::vector<std::string> begins = {"step,tensor,", "0,v,4,16,0,1,2,0,1,", "0,w,600,272,0,", "1,v,4,", "1,w,600,"};
  std::string line;
  for (auto const& b : begins) {
    std::getline(lines, line);
    CHECK(line.substr(0, b.size()) == b);
    CHECK(std::count(line.begin(), line.end(), ',') == 12);
  }
  CHECK(!std::getline(lines, line));
  CHECK(message_of([&] { r.watch(host_reducer::tensor{9}, std::ref(csv)); }).find("does not know") !=
        std::string::npos);
}
