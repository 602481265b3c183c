// SPDX-License-Identifier: Apache-2.0

/// \file
/// What do low-rank methods cost and keep? Three small problems on which PowerSGD as published stands still, and two
/// networks trained from one seed by dense exchange, PowerSGD of three ranks, its alternating form, PowerSGD+ and LQ-SGD.
/// `./dev evidence low-rank` runs it through low-rank.py, which makes the page.

#include "../../examples/support/line_chart.hpp"
#include "../support/evidence_main.hpp"
#include "tasks.hpp"

#include <gradpress/gradpress.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>

namespace {

namespace gp = gradpress;
using namespace evidence;
using reducer = gp::reducer<gp::serial>;
using doubles = std::vector<double>;

constexpr std::uint64_t seed = 1;

double norm(doubles const& x) {
  double squares = 0;
  for (double const v : x) squares += v * v;
  return std::sqrt(squares);
}

// ---- problems on which PowerSGD stands still --------------------------------------------------------------------

/// PowerSGD of rank 1 as published: memory, warm start, 1e-8 added to the norm of P, nothing else.
class published {
  std::size_t rows_, cols_;
  doubles q_, memory_;

 public:
  published(std::size_t rows, std::size_t cols, doubles q)
      : rows_(rows), cols_(cols), q_(std::move(q)), memory_(rows * cols) {}
  [[nodiscard]] double memory() { return norm(memory_); }
  doubles update(doubles const& gradient) {
    doubles p(rows_), next(cols_), given(rows_ * cols_);
    for (std::size_t i = 0; i < rows_; ++i)
      for (std::size_t j = 0; j < cols_; ++j) {
        memory_[i * cols_ + j] += gradient[i * cols_ + j];
        p[i] += memory_[i * cols_ + j] * q_[j];
      }
    auto const length = norm(p) + 1e-8;
    for (double& v : p) v /= length;
    for (std::size_t i = 0; i < rows_; ++i)
      for (std::size_t j = 0; j < cols_; ++j) next[j] += memory_[i * cols_ + j] * p[i];
    for (std::size_t i = 0; i < rows_; ++i)
      for (std::size_t j = 0; j < cols_; ++j) {
        given[i * cols_ + j] = p[i] * next[j];
        memory_[i * cols_ + j] -= given[i * cols_ + j];
      }
    q_ = next;
    return given;
  }
};

/// This library's, on one rank.
class ours {
  gp::self_communicator alone_;
  reducer reducer_;
  reducer::tensor tensor_;

 public:
  template <class Projector>
  ours(std::size_t rows, std::size_t cols, Projector const& p)
      : reducer_(gp::serial{}, alone_, {.seed = seed}),
        tensor_(reducer_.add("X", rows, cols, gp::compress_with(p, gp::error_feedback{}))) {}
  [[nodiscard]] double memory() {
    doubles all;
    reducer_.visit(tensor_, [&](std::string_view name, gp::buffer<gp::serial> b) {
      if (name == "residual") all.assign(b.data(), b.data() + b.extent(0));
    });
    return norm(all);
  }
  doubles update(doubles const& gradient) {
    std::vector<float> g(gradient.begin(), gradient.end());
    reducer_.average(tensor_, std::span(g));
    return {g.begin(), g.end()};
  }
};

/// f(X) = |X|^2 / 2, whose gradient X is seen exactly; or doubled in one half of the steps and as zero in the other.
struct problem {
  std::string key, title;
  std::size_t rows, cols;
  doubles start, q;  // X, and the Q from which the published method begins
  int steps;
  bool noisy;
};
std::vector<problem> const problems{
    {"subspace", "invariant subspace", 2, 2, {1, 0, 0, 1}, {1, 0}, 300, false},
    {"zeros", "zeros, 1 x 1", 1, 1, {1}, {1}, 2000, true},
    {"matrix", "zeros, 4 x 3", 4, 3, {2, 1, -1, -4, -2, 2, 6, 3, -3, -2, -1, 1}, {1, 1, 1}, 2000, true}};

struct case_record {
  std::string problem, method;
  int step;
  double size, memory;  ///< |X| over |X| at the start; |memory|
};

template <class Method>
void descend(problem const& of, std::string const& name, Method method, std::vector<case_record>& to) {
  auto x = of.start;
  auto const look = [&](int step) { to.push_back({of.key, name, step, norm(x) / norm(of.start), method.memory()}); };
  look(0);
  for (int step = 1; step <= of.steps; ++step) {
    auto const heads = gp::key{seed}.uniform(static_cast<std::uint64_t>(step)) < 0.5f;
    auto g = x;
    for (double& v : g) v *= !of.noisy ? 1 : heads ? 2 : 0;
    auto const u = method.update(g);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] -= 0.05 * u[i];
    if (step % (of.steps / 100) == 0) look(step);
  }
}

std::vector<case_record> solve_all() {
  std::vector<case_record> all;
  for (auto const& p : problems) {
    descend(p, "published", published(p.rows, p.cols, p.q), all);
    // 0: a tensor as small as these is compressed all the same.
    descend(p, "power_sgd", ours(p.rows, p.cols, gp::low_rank{.rank = 1, .minimum_rate = 0}), all);
    descend(p, "power_sgd_plus",
            ours(p.rows, p.cols, gp::refreshed_low_rank{.rank = 1, .every = 10, .minimum_rate = 0}), all);
  }
  return all;
}

// ---- training ---------------------------------------------------------------------------------------------------

constexpr int ranks = 4;

struct method {
  std::string key, label;
  std::size_t colour;
  std::string dashes;
  std::size_t panel;  // everywhere: 3
};
std::vector<method> const methods{
    {"dense", "dense", 0, "", 3},          {"power_sgd_1", "r = 1", 1, "2 3", 0},
    {"power_sgd_2", "r = 2", 1, "", 3},    {"power_sgd_4", "r = 4", 1, "8 3", 0},
    {"acp_sgd_2", "ACP-SGD", 3, "", 1},    {"power_sgd_plus_2", "PowerSGD+", 4, "4 6", 1},
    {"l_greco_2", "L-GreCo", 3, "6 3", 0}, {"lq_sgd_2_8", "8 bits", 2, "", 2},
    {"lq_sgd_2_4", "4 bits", 2, "6 3", 2},
};

template <class Use>
void with_method(std::string const& key, Use const& use) {
  if (key == "dense")
    use(gp::compress_with());
  else if (key.starts_with("power_sgd_plus"))
    use(gp::power_sgd_plus(2, 50));
  else if (key.starts_with("power_sgd") || key.starts_with("l_greco"))
    use(gp::power_sgd(key.back() - '0'));
  else if (key.starts_with("acp_sgd"))
    use(gp::acp_sgd(2));
  else
    use(gp::lq_sgd(2, key.back() - '0'));
}

/// Where a run stands after a step. Bytes since its start, mean over the ranks. NaN: not looked at.
struct record {
  std::string task, method;
  int step = 0;
  double loss = 0;                      ///< of training, mean since the last record
  double contributed = 0, arrived = 0;  ///< what a rank hands in; what it receives where rings carry it
  double left = std::nan("");           ///< |S - P u| / |S|: u the update, S the sum of all ranks' signals
  double lost = std::nan("");           ///< |S - P u - memories| / |S|
  double test = std::nan("");           ///< at the end: accuracy of digits, loss of characters
  std::string ranks{};                  ///< of the matrices, where they move: "2/1"
};

/// A reducer and its tensors, on a communicator that counts.
template <class Comm>
struct exchange {
  gp::counting<Comm&> counted;
  reducer of;
  std::vector<reducer::tensor> tensors;
  std::vector<slice> parameters;

  exchange(Comm& comm, std::string const& key, std::vector<slice> slices)
      : counted(comm), of(gp::serial{}, counted, gp::reducer_options{.seed = seed}), parameters(std::move(slices)) {
    with_method(key, [&](auto const& m) {
      for (auto const& p : parameters) tensors.push_back(of.add(p.name, p.rows, p.cols, m));
    });
  }
  void average() {
    for (std::size_t i = 0; i < tensors.size(); ++i) of.stage(tensors[i], parameters[i].gradient);
    of.average();
  }
  [[nodiscard]] std::vector<float> gradient() const {
    std::vector<float> all;
    for (auto const& p : parameters) all.insert(all.end(), p.gradient.begin(), p.gradient.end());
    return all;
  }
  [[nodiscard]] std::vector<float> signal() {
    auto all = gradient();
    auto const kept = memory();
    for (std::size_t i = 0; i < all.size(); ++i) all[i] += kept[i];
    return all;
  }
  /// The memories of all tensors in their order; zeros where there is none.
  [[nodiscard]] std::vector<float> memory() {
    std::vector<float> all;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      all.resize(all.size() + parameters[i].gradient.size());
      of.visit(tensors[i], [&](std::string_view name, gp::buffer<gp::serial> b) {
        if (name == "residual")
          std::copy_n(b.data(), b.extent(0), all.end() - static_cast<std::ptrdiff_t>(b.extent(0)));
      });
    }
    return all;
  }
  /// Without agreement and vote.
  [[nodiscard]] double contributed() const {
    return static_cast<double>(counted.bytes()) - static_cast<double>(of.stats().control_bytes);
  }
  /// A sum of m bytes is a ring's 2 (P - 1) / P m; of a gather the others' messages. Without agreement and vote.
  [[nodiscard]] double arrived() const {
    double const P = ranks;
    double all = -(P - 1) * static_cast<double>(of.stats().control_bytes);
    for (auto const& [name, t] : counted.counts())
      all +=
          name == "all_reduce_sum" ? 2 * (P - 1) / P * static_cast<double>(t.bytes) : static_cast<double>(t.received);
    return all;
  }
};

/// L-GreCo: moves the ranks of a reducer's matrices four times a run, from sums of all ranks' signals of the two steps
/// before. The sums travel like any others, and count.
class moving_ranks {
  gp::l_greco<gp::serial> planner_;
  std::vector<std::size_t> matrices_;

 public:
  moving_ranks(std::vector<slice> const& parameters, int by_default, int steps)
      : planner_({.every = static_cast<std::uint64_t>(std::max(steps / 5, 2)), .window = 2}) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (auto const& p = parameters[i]; p.cols > 1)
        planner_.add(p.name, p.rows, p.cols, by_default), matrices_.push_back(i);
  }
  template <class Comm>
  void before(std::uint64_t step, exchange<Comm>& e) {
    for (auto const& c : planner_.adjust(step)) e.of.set(e.tensors[matrices_[c.tensor]], "rank", c.after);
    if (!planner_.wants(step)) return;
    auto sum = e.signal();
    e.counted.all_reduce_sum(std::span(sum));
    for (std::size_t i = 0, m = 0, at = 0; i < e.parameters.size(); at += e.parameters[i++].gradient.size())
      if (m < matrices_.size() && matrices_[m] == i)
        planner_.observe(m++, step, std::span<float const>(sum).subspan(at, e.parameters[i].gradient.size()));
  }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (std::size_t m = 0; m < planner_.size(); ++m) all += (m > 0 ? "/" : "") + std::to_string(planner_.rank(m));
    return all;
  }
};

template <class Comm>
doubles sum_over(Comm& comm, std::vector<float> const& mine) {
  doubles all(mine.begin(), mine.end());
  comm.all_reduce_sum(std::span(all));
  return all;
}

template <class Task, class Comm>
void train_rank(Task const& task, Comm& comm, std::string const& key, bool quick, std::vector<record>& records) {
  auto const steps = quick ? Task::quick_steps : Task::steps, every = std::max(steps / Task::records, 1);
  typename Task::replica replica(task, seed);
  bool const first = comm.rank() == 0;
  double loss = 0;
  exchange<Comm> now(comm, key, replica.parameters());
  std::optional<moving_ranks> moving;
  if (key.starts_with("l_greco")) moving.emplace(now.parameters, key.back() - '0', steps);

  for (int step = 1; step <= steps; ++step) {
    loss += replica.differentiate(step, comm.rank(), comm.size());
    bool const look = step % every == 0;
    if (moving) moving->before(static_cast<std::uint64_t>(step - 1), now);
    doubles sum;
    if (look) sum = sum_over(comm, now.signal());
    now.average();
    record r{Task::name, key, step};
    if (look) {
      auto const memories = sum_over(comm, now.memory());
      auto rest = sum;
      auto const update = now.gradient();
      for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= static_cast<double>(update[i]) * ranks;
      r.left = norm(rest) / norm(sum);
      for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= memories[i];
      r.lost = norm(rest) / norm(sum);
    }
    replica.update();
    if (!look) continue;

    doubles mine{loss / every, now.contributed(), now.arrived()};
    comm.all_reduce_sum(std::span(mine));
    r.loss = mine[0] / ranks, r.contributed = mine[1] / ranks, r.arrived = mine[2] / ranks;
    if (moving) r.ranks = moving->text();
    loss = 0;
    if (first) records.push_back(r);
  }

  auto const values = replica.values();
  std::vector<float> all(values.size() * ranks);
  comm.all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(all)));
  for (std::size_t p = 1; p < ranks; ++p)
    if (std::memcmp(values.data(), all.data() + p * values.size(), 4 * values.size()) != 0)
      throw std::runtime_error("after the run, rank " + std::to_string(p) + " differs from another");
  if (first) records.back().test = replica.test(quick);
}

template <class Task>
void train(bool quick, std::vector<record>& records) {
  Task const task;
  for (auto const& m : methods) {
    auto const start = std::chrono::steady_clock::now();
    gp::run_ranks(
        ranks, [&](gp::thread_communicator& comm) { train_rank(task, comm, m.key, quick, records); },
        std::chrono::minutes(5));
    std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start;
    std::cerr << Task::name << ", " << m.key << ": loss " << records.back().loss << ", test " << records.back().test
              << ", " << svg::number(took.count(), 1) << " s\n";
  }
}

// ---- files ------------------------------------------------------------------------------------------------------

std::string known(double v, int digits) {
  std::ostringstream words;
  words.precision(digits);
  if (!std::isnan(v)) words << v;
  return words.str();
}

template <class Lines>
void write_file(std::string const& path, Lines const& lines) {
  std::ofstream file(path);
  lines(file);
  file.close();
  if (!file) throw std::runtime_error("cannot write '" + path + "'");
}

void write_csv(std::vector<record> const& records, std::string const& path) {
  write_file(path, [&](std::ostream& out) {
    out << "task,method,step,loss,contributed_bytes,arrived_bytes,left,lost,test,ranks\n";
    for (auto const& r : records)
      out << r.task << ',' << r.method << ',' << r.step << ',' << known(r.loss, 5) << ',' << known(r.contributed, 12)
          << ',' << known(r.arrived, 12) << ',' << known(r.left, 4) << ',' << known(r.lost, 3) << ','
          << known(r.test, 5) << ',' << r.ranks << '\n';
  });
}
void write_csv(std::vector<case_record> const& records, std::string const& path) {
  write_file(path, [&](std::ostream& out) {
    out << "problem,method,step,size,memory\n";
    for (auto const& r : records)
      out << r.problem << ',' << r.method << ',' << r.step << ',' << known(r.size, 4) << ',' << known(r.memory, 4)
          << '\n';
  });
}

void draw(std::vector<case_record> const& records, std::string const& path) {
  svg::line_chart chart;
  chart.title = "Where PowerSGD as published stands still";
  chart.subtitle = "|X|^2 / 2 by gradient descent, rank 1, learning rate 0.05; values below 1e-12 are drawn there";
  chart.x_title = "step";
  chart.y_title = "|X| / |X at the start|";
  chart.y = svg::axis::logarithmic;
  std::array<std::string, 3> const keys{"published", "power_sgd", "power_sgd_plus"};
  chart.pens = {svg::okabe_ito(0, "PowerSGD, as published", "6 3"), svg::okabe_ito(1, "low_rank"),
                svg::okabe_ito(4, "refreshed_low_rank", "4 6")};
  for (auto const& p : problems) {
    svg::panel panel{p.title, {}};
    for (std::size_t k = 0; k < keys.size(); ++k) {
      svg::curve c{k, {}};
      for (auto const& r : records)
        if (r.problem == p.key && r.method == keys[k]) c.points.emplace_back(r.step, std::max(r.size, 1e-12));
      panel.curves.push_back(std::move(c));
    }
    chart.panels.push_back(std::move(panel));
  }
  chart.write(path);
}

template <class Task>
void draw(std::vector<record> const& records, std::string const& folder) {
  auto const write = [&](char const* what, char const* file, auto const& x_of, auto const& finish) {
    svg::line_chart chart;
    chart.title = std::string(Task::title) + ": " + what;
    chart.y = Task::logarithmic ? svg::axis::logarithmic : svg::axis::linear;
    chart.y_title = Task::logarithmic ? "training loss, nats (logarithmic)" : "training loss, nats";
    chart.y_high = Task::guess * 1.15;
    chart.panels = {{"PowerSGD", {}}, {"its other forms, r = 2", {}}, {"LQ-SGD, r = 2", {}}};
    for (auto const& m : methods) {
      svg::curve c{chart.pens.size(), {}};
      chart.pens.push_back(svg::okabe_ito(m.colour, m.label, m.dashes));
      for (auto const& r : records)
        if (r.task == Task::name && r.method == m.key) c.points.emplace_back(x_of(r), r.loss);
      for (std::size_t i = 0; i < chart.panels.size(); ++i)
        if (m.panel == i || m.panel == 3) chart.panels[i].curves.push_back(c);
    }
    finish(chart);
    chart.write(folder + "/low-rank_" + Task::name + "_" + file + ".svg");
  };
  write(
      "loss against step", "steps", [](record const& r) { return double(r.step); },
      [](svg::line_chart& chart) {
        chart.subtitle = "One seed, the same batches and learning rate for all; 4 ranks";
        chart.x_title = "step";
      });
  write(
      "loss against bytes", "bytes", [](record const& r) { return r.arrived; },
      [](svg::line_chart& chart) {
        chart.subtitle = "As rings carry sums and gathers, from the first step on; 4 ranks";
        chart.x = svg::axis::bytes;
        chart.x_title = "bytes received by a rank so far (logarithmic; left is less)";
      });
}

constexpr char const* usage =
    R"(Small problems on which PowerSGD stands still, and two networks trained by low-rank methods.

  bench.evidence.low-rank [--quick] FOLDER

  FOLDER       where low-rank.csv, low-rank_problems.csv and the charts low-rank_*.svg go; it must exist
  --quick      a few steps of training, to see that everything works
)";

template <class... Task>
void train_and_draw(bool quick, std::string const& folder) {
  std::vector<record> records;
  (train<Task>(quick, records), ...);
  write_csv(records, folder + "/low-rank.csv");
  (draw<Task>(records, folder), ...);
}

}  // namespace

int main(int argc, char** argv) {
  return evidence::run_main(argc, argv, "low-rank", usage, [](bool quick, std::string const& folder) {
    auto const solved = solve_all();
    write_csv(solved, folder + "/low-rank_problems.csv");
    draw(solved, folder + "/low-rank_problems.svg");
    train_and_draw<digits_task, shakespeare_task<true>>(quick, folder);
  });
}
