// SPDX-License-Identifier: Apache-2.0

/// \file
/// Six small problems on each of which one way to compress fails and another does not: what memories are for.
/// `./dev evidence feedback` runs it through feedback.py, which makes the page.

#include "../../examples/support/line_chart.hpp"
#include "../support/evidence_main.hpp"

#include <gradpress/gradpress.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace {

namespace gp = gradpress;
using reducer = gp::reducer<gp::serial>;
using point = std::vector<double>;

constexpr std::uint64_t seed = 1;

/// Where a run stands after a step.
struct record {
  std::string pair, method;
  int step;
  double value;
};
using records = std::vector<record>;

double squared(point const& x) {
  double all = 0;
  for (double const v : x) all += v * v;
  return all;
}

/// One rank's gradient, compressed and averaged over all of a communicator.
template <class Comm>
class averaged {
  reducer reducer_;
  reducer::tensor tensor_;
  std::vector<float> g_;

 public:
  template <class Method>
  averaged(Comm& comm, std::size_t n, Method const& m)
      : reducer_(gp::serial{}, comm, {.seed = seed}), tensor_(reducer_.add("x", n, 1, m)), g_(n) {}
  point operator()(point const& gradient) {
    std::copy(gradient.begin(), gradient.end(), g_.begin());
    reducer_.average(tensor_, std::span(g_));
    return {g_.begin(), g_.end()};
  }
  [[nodiscard]] reducer& of() { return reducer_; }
  /// The norm of what the memory keeps.
  [[nodiscard]] double memory() {
    double all = 0;
    reducer_.visit(tensor_, [&](std::string_view name, gp::buffer<gp::serial> b) {
      if (name == "residual") all = std::sqrt(squared({b.data(), b.data() + b.extent(0)}));
    });
    return all;
  }
};

double sign_of(double x) { return x < 0 ? -1 : 1; }

// ---- N1: the rare gradient is the large one -----------------------------------------------------------------------

/// f(x) = x / 4 on [-1, 1] from 0; the gradient is 4 in a quarter of the steps and -1 in the others. The mean of 200 runs.
template <class Method>
void rare(std::string const& name, Method const& m, bool signs, records& to) {
  constexpr int steps = 300, runs = 200;
  constexpr double rate = 0.01;
  std::vector<double> mean(steps + 1);
  for (std::uint64_t run = 0; run < runs; ++run) {
    gp::self_communicator alone;
    averaged<gp::self_communicator> average(alone, 1, m);
    gp::key const draws = gp::key{seed}.with(run);
    double x = 0;
    for (int t = 1; t <= steps; ++t) {
      auto const u = average({draws.uniform(static_cast<std::uint64_t>(t)) < 0.25f ? 4. : -1.})[0];
      x = std::clamp(x - rate * (signs ? sign_of(u) : u), -1., 1.);
      mean[static_cast<std::size_t>(t)] += x / runs;
    }
  }
  for (int t = 0; t <= steps; t += 3) to.push_back({"N1", name, t, mean[static_cast<std::size_t>(t)]});
}
void solve_rare(records& to) {
  rare("SGD", gp::compress_with(), false, to);
  rare("sign", gp::compress_with(), true, to);
  rare("sign_memory", gp::compress_with(gp::sign{}, gp::error_feedback{}), false, to);
}

// ---- N2: what all signs agree on ----------------------------------------------------------------------------------

/// f(x) = 0.3 |x1 + x2| + |x1 - x2| from (1, 1): the sign of the gradient is +-(1, -1), and x1 + x2 never moves.
template <class Method>
void valley(std::string const& name, Method const& m, bool signs, records& to) {
  constexpr double slope = 0.3, rate = 0.005;
  gp::self_communicator alone;
  averaged<gp::self_communicator> average(alone, 2, m);
  point x{1, 1};
  auto const look = [&](int t) {
    to.push_back({"N2", name, t, slope * std::abs(x[0] + x[1]) + std::abs(x[0] - x[1])});
  };
  look(0);
  for (int t = 1; t <= 4000; ++t) {
    auto const along = slope * sign_of(x[0] + x[1]), across = sign_of(x[0] - x[1]);
    auto const u = average({along + across, along - across});
    for (std::size_t i = 0; i < 2; ++i) x[i] -= rate * (signs ? sign_of(u[i]) : u[i]);
    if (t % 40 == 0) look(t);
  }
}
void solve_valley(records& to) {
  valley("SGD", gp::compress_with(), false, to);
  valley("sign", gp::compress_with(), true, to);
  valley("sign_memory", gp::compress_with(gp::sign{}, gp::error_feedback{}), false, to);
}

// ---- N6: noise that hides an entry --------------------------------------------------------------------------------

/// |x|^2 / 2 in the plane from (0.1, 0.1), where each gradient has one of three noises that cancel on average. The
/// larger entry is sent. Mean of |gradient|^2 over the last 500 steps.
template <class Method>
void hidden(std::string const& name, Method const& m, records& to) {
  constexpr int steps = 40000, window = 500;
  constexpr double rate = 1e-3;
  double const s = std::sqrt(0.3);
  double const noises[3][2] = {{2 * s, 0}, {0, s}, {-2 * s, -s}};
  gp::self_communicator alone;
  averaged<gp::self_communicator> average(alone, 2, m);
  gp::key const draws{123};
  point x{0.1, 0.1};
  double sum = 0;
  for (int t = 1; t <= steps; ++t) {
    auto const& noise = noises[std::min(2, static_cast<int>(3 * draws.uniform(static_cast<std::uint64_t>(t))))];
    auto const u = average({x[0] + noise[0], x[1] + noise[1]});
    for (std::size_t i = 0; i < 2; ++i) x[i] -= rate * u[i];
    sum += squared(x) / window;
    if (t % window == 0) to.push_back({"N6", name, t, sum}), sum = 0;
  }
}
void solve_hidden(records& to) {
  gp::top_k const one{.density = 0.5};
  hidden("SGD", gp::compress_with(), to);
  hidden("error_feedback", gp::compress_with(one, gp::error_feedback{}), to);
  hidden("ef21", gp::compress_with(one, gp::ef21{}), to);
  hidden("ef21_sgdm", gp::compress_with(one, gp::ef21_sgdm{.eta = 0.05}), to);
}

// ---- N7: a learning rate that falls fast --------------------------------------------------------------------------

/// C(v) = v / 2: a legal contraction that leaves a half behind.
struct half {
  using family = gp::family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "half";
  [[nodiscard]] constexpr std::size_t code_bytes(std::size_t m) const noexcept { return 4 * m; }
  template <class Exec>
  void encode(gp::step<Exec> const&, gp::in<Exec> x, gp::bytes<Exec> codes) const {
    for (std::size_t i = 0; i < x.extent(0); ++i) gp::as<float>(codes)(i) = x(i) / 2;
  }
  template <class Exec>
  void decode(gp::step<Exec> const&, gp::in_bytes<Exec> codes, gp::view<Exec> x) const {
    std::memcpy(x.data(), codes.data(), 4 * x.extent(0));
  }
};

/// The gradient is 1, the rate 0.4^t. `model`: gradients times the rate are handed over. Otherwise the rate comes after
/// decoding, and `ratio` says whether the memory follows it.
void falling(std::string const& name, gp::error_feedback const& memory, records& to) {
  gp::self_communicator alone;
  averaged<gp::self_communicator> average(alone, 1, gp::compress_with(half{}, memory));
  bool const model = name == "model";
  double rate = 1, moved = 0, wanted = 0;
  for (int t = 1; t <= 60; ++t, rate *= 0.4) {
    if (!model) average.of().learning_rate(rate);
    moved += average({model ? rate : 1})[0] * (model ? 1 : rate);
    wanted += rate;
    to.push_back({"N7", name, t, average.memory()});
    to.push_back({"N7_short_of", name, t, wanted - moved});
  }
}
void solve_falling(records& to) {
  falling("gradient", {}, to);
  falling("ratio", {.units = gp::residual_units::model}, to);
  falling("model", {}, to);
}

// ---- several ranks ------------------------------------------------------------------------------------------------

/// Descends from 0, or `start`; gradient(rank, x) is a rank's own. Calls look(step, x) on rank 0.
template <class Method>
void descend(int ranks, Method const& m, point const& start, int steps, double rate,
             std::function<point(std::size_t, point const&)> const& gradient,
             std::function<void(int, point const&)> const& look) {
  gp::run_ranks(ranks, [&](gp::thread_communicator& comm) {
    averaged<gp::thread_communicator> average(comm, start.size(), m);
    auto x = start;
    for (int t = 1; t <= steps; ++t) {
      auto const u = average(gradient(static_cast<std::size_t>(comm.rank()), x));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] -= rate * u[i];
      if (comm.rank() == 0) look(t, x);
    }
  });
}

// ---- N10: what each wants alone hides what both want --------------------------------------------------------------

/// Two ranks with f = +-10 u + v^2 / 2 and one entry to send: each finds its u the larger.
template <class Method>
void opposed(std::string const& name, Method const& m, records& to) {
  to.push_back({"N10", name, 0, 1});
  descend(
      2, m, {0, 1}, 1000, 0.05,
      [](std::size_t p, point const& x) {
        return point{p == 0 ? 10. : -10., x[1]};
      },
      [&](int t, point const& x) {
        if (t % 5 == 0) to.push_back({"N10", name, t, x[1]});
      });
}
void solve_opposed(records& to) {
  gp::top_k const one{.density = 0.5};
  opposed("SGD", gp::compress_with(), to);
  opposed("top_k", gp::compress_with(one), to);
  opposed("top_k_memory", gp::compress_with(one, gp::error_feedback{}), to);
}

// ---- N15: ranks that want different things ------------------------------------------------------------------------

/// Rank p minimises a quadratic in 64 numbers with a centre and curvatures of its own. Distance to the common optimum.
class quadratics {
  static constexpr std::size_t ranks = 4, n = 64;
  std::array<point, ranks> centre_, curvature_;
  point optimum_ = point(n);

 public:
  quadratics() {
    for (std::size_t p = 0; p < ranks; ++p)
      for (std::size_t i = 0; i < n; ++i) {
        auto const u = gp::key{seed}.with(p).uniform(i), v = gp::key{seed}.with(p + ranks).uniform(i);
        centre_[p].push_back(2. * u - 1);
        curvature_[p].push_back(1. + v);
      }
    for (std::size_t i = 0; i < n; ++i) {
      double top = 0, bottom = 0;
      for (std::size_t p = 0; p < ranks; ++p) top += curvature_[p][i] * centre_[p][i], bottom += curvature_[p][i];
      optimum_[i] = top / bottom;
    }
  }
  template <class Method>
  void solve(std::string const& name, Method const& m, records& to) const {
    descend(
        ranks, m, point(n), 800, 0.1,
        [&](std::size_t p, point const& x) {
          point g(n);
          for (std::size_t i = 0; i < n; ++i) g[i] = curvature_[p][i] * (x[i] - centre_[p][i]);
          return g;
        },
        [&](int t, point const& x) {
          if (t % 8 != 0) return;
          auto off = x;
          for (std::size_t i = 0; i < n; ++i) off[i] -= optimum_[i];
          to.push_back({"N15", name, t, std::sqrt(squared(off))});
        });
  }
};
void solve_unequal(records& to) {
  quadratics const f;
  gp::stochastic_int const code{.bits = 2, .block = 64};
  f.solve("SGD", gp::compress_with(), to);
  f.solve("codes", gp::compress_with(code), to);
  f.solve("diana", gp::compress_with(code, gp::diana{.alpha = 0.1}), to);
  f.solve("ef21", gp::compress_with(gp::top_k{.density = 0.125}, gp::ef21{}), to);
}

// ---- files --------------------------------------------------------------------------------------------------------

struct line {
  std::string method, label;
  std::size_t colour;
  std::string dashes;
};
struct pair {
  std::string key, title, subtitle, y_title;
  svg::axis y;
  double floor;  ///< values below it are drawn there
  std::vector<line> lines;
  void (*solve)(records&);
};
std::vector<pair> const pairs{
    {"N1",
     "The rare gradient is the large one",
     "x / 4 on [-1, 1]: gradient 4 in a quarter of the steps, else -1; mean of 200 runs",
     "x (best: -1)",
     svg::axis::linear,
     -2,
     {{"SGD", "SGD", 0, ""}, {"sign", "sign", 2, "6 3"}, {"sign_memory", "scaled sign, error_feedback", 1, "2 3"}},
     solve_rare},
    {"N2",
     "What all signs agree on never moves",
     "0.3 |x1 + x2| + |x1 - x2| from (1, 1), rate 0.005",
     "f(x)",
     svg::axis::logarithmic,
     1e-4,
     {{"SGD", "SGD", 0, ""}, {"sign", "sign", 2, "6 3"}, {"sign_memory", "scaled sign, error_feedback", 1, ""}},
     solve_valley},
    {"N6",
     "Noise on one entry hides the other",
     "|x|^2 / 2 in the plane, one entry of two sent, rate 0.001",
     "|gradient|^2, mean of 500 steps",
     svg::axis::logarithmic,
     1e-6,
     {{"SGD", "SGD", 0, ""},
      {"error_feedback", "error_feedback", 1, "6 3"},
      {"ef21", "ef21", 2, ""},
      {"ef21_sgdm", "ef21_sgdm", 3, ""}},
     solve_hidden},
    {"N7",
     "A learning rate that falls fast",
     "C(v) = v / 2, gradient 1, rate 0.4^t",
     "|memory|",
     svg::axis::logarithmic,
     1e-20,
     {{"gradient", "as it is", 3, "6 3"},
      {"ratio", "times the ratio of rates", 2, ""},
      {"model", "gradients times the rate", 1, ""}},
     solve_falling},
    {"N10",
     "What each wants alone hides what both want",
     "f = +-10 u + v^2 / 2 on two ranks, one entry of two sent",
     "v (best: 0)",
     svg::axis::linear,
     -2,
     {{"SGD", "SGD", 0, ""}, {"top_k", "top_k", 2, "6 3"}, {"top_k_memory", "top_k, error_feedback", 1, ""}},
     solve_opposed},
    {"N15",
     "Ranks that want different things",
     "four quadratics in 64 numbers, rate 0.1",
     "distance to the optimum",
     svg::axis::logarithmic,
     1e-7,
     {{"SGD", "SGD", 0, ""},
      {"codes", "2 bits, unbiased", 2, ""},
      {"diana", "2 bits, diana", 1, "6 3"},
      {"ef21", "top_k 1/8, ef21", 3, ""}},
     solve_unequal},
};

void draw(pair const& of, records const& all, std::string const& path) {
  svg::line_chart chart;
  chart.title = of.key + ". " + of.title;
  chart.subtitle = of.subtitle;
  chart.x_title = "step";
  chart.y_title = of.y_title;
  chart.y = of.y;
  chart.columns = 1;
  chart.inner_width = 560, chart.inner_height = 220;
  svg::panel panel;
  for (auto const& l : of.lines) {
    svg::curve c{chart.pens.size(), {}};
    chart.pens.push_back(svg::okabe_ito(l.colour, l.label, l.dashes));
    for (auto const& r : all)
      if (r.pair == of.key && r.method == l.method) c.points.emplace_back(r.step, std::max(r.value, of.floor));
    panel.curves.push_back(std::move(c));
  }
  chart.panels.push_back(std::move(panel));
  chart.write(path);
}

void write_csv(records const& all, std::string const& path) {
  std::ofstream file(path);
  file.precision(5);
  file << "pair,method,step,value\n";
  for (auto const& r : all) file << r.pair << ',' << r.method << ',' << r.step << ',' << r.value << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write '" + path + "'");
}

constexpr char const* usage = R"(Six problems on each of which one way to compress fails and another does not.

  bench.evidence.feedback_pairs [--quick] FOLDER

  FOLDER       where feedback_pairs.csv and the charts feedback_N*.svg go; it must exist
  --quick      the same: it takes a few seconds
)";

}  // namespace

int main(int argc, char** argv) {
  return evidence::run_main(argc, argv, "feedback_pairs", usage, [](bool, std::string const& folder) {
    records all;
    for (auto const& p : pairs) {
      p.solve(all);
      draw(p, all, folder + "/feedback_" + p.key + ".svg");
    }
    write_csv(all, folder + "/feedback_pairs.csv");
  });
}
