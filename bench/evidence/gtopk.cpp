// SPDX-License-Identifier: Apache-2.0

/// \file
/// Does gTop-k converge? Trains two networks from one seed, one of them with momentum and without, with dense exchange, top-k, gTop-k with either rule of what is
/// put back, and random-k, at three densities and two numbers of ranks, and writes what happened as CSV and as charts.
/// `./dev evidence gtopk` runs it through gtopk.py, which makes the page.
///
/// A model is compressed as one group: k entries of all its parameters together.

#include "../../examples/support/line_chart.hpp"
#include "tasks.hpp"

#include <gradpress/gradpress.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <span>
#include <sstream>
#include <stdexcept>

namespace {

namespace gp = gradpress;
using namespace evidence;
using reducer = gp::reducer<gp::serial>;

constexpr std::uint64_t seed = 1;
constexpr std::array densities{0.1, 0.01, 0.001};

struct method {
  std::string key, label;
  std::size_t colour;
  std::string dashes;
};
/// The pens of the charts, in this order.
std::vector<method> const methods{{"dense", "dense", 0, ""},
                                  {"top_k", "top-k", 1, ""},
                                  {"gtop_k", "gTop-k", 2, ""},
                                  {"gtop_k_published", "gTop-k, published", 4, "6 3"},
                                  {"random_k", "random-k", 3, ""},
                                  {"top_k_warm", "top-k, warm-up", 1, "2 3"},
                                  {"gtop_k_warm", "gTop-k, warm-up", 2, "2 3"}};

struct setting {
  std::string method;
  double density = 1;
  int ranks = 4;
  [[nodiscard]] bool warm() const { return method.ends_with("_warm"); }
};

/// Where a run stands after a step. Bytes since its start, mean over the ranks. NaN: not looked at.
struct record {
  std::string task;
  setting of;
  int step = 0;
  double loss = 0;                      ///< of training, mean since the last record
  double contributed = 0, on_wire = 0;  ///< as reducer.stats() counts, and as rings and trees would send
  double delta = std::nan("");          ///< |S - update| / |S - random_k(S)|, S the sum of all ranks' signals
  double lost = std::nan("");           ///< |S - update - memories| / |S|
  double test = std::nan("");           ///< at the end: accuracy of digits, loss of characters
};

template <class Use>
void with_method(setting const& s, Use const& use) {
  gp::top_k const top{.density = s.density};
  gp::error_feedback const memory{};
  if (s.method == "dense")
    use(gp::compress_with());
  else if (s.method == "random_k")
    use(gp::compress_with(gp::random_k{.density = s.density}, memory));
  else if (s.method.starts_with("top_k"))
    use(gp::compress_with(top, memory, gp::all_gather{}));
  else
    use(gp::compress_with(
        top, memory,
        gp::gtop_k{.dropped = s.method == "gtop_k_published" ? gp::put_back::published : gp::put_back::owner_keeps}));
}

/// Messages a rank sends for one that it contributes: a ring gathers in P - 1 and reduces in 2 (P - 1) / P of the size;
/// what a tree sends is counted as it is.
double sends(setting const& s) {
  auto const P = static_cast<double>(s.ranks);
  if (s.method == "dense" || s.method == "random_k") return 2 * (P - 1) / P;
  return s.method.starts_with("top_k") ? P - 1 : 1;
}

/// A reducer and the tensors of its one group.
struct exchange {
  reducer of;
  std::vector<reducer::tensor> tensors;

  template <class Comm>
  exchange(Comm& comm, setting const& s, std::vector<slice> const& parameters)
      : of(gp::serial{}, comm, gp::reducer_options{.seed = seed}) {
    std::vector<reducer::part_of_group> parts;
    for (auto const& p : parameters) parts.push_back({p.name, p.rows, p.cols});
    with_method(s, [&](auto const& m) { tensors = of.add_group("model", parts, m); });
  }
  /// The memories of all tensors, in their order.
  [[nodiscard]] std::vector<float> memory() {
    std::vector<float> all;
    for (auto const t : tensors)
      of.visit(t,
               [&](char const*, gp::buffer<gp::serial> b) { all.insert(all.end(), b.data(), b.data() + b.extent(0)); });
    return all;
  }
  void average(std::vector<slice> const& parameters) {
    for (std::size_t i = 0; i < tensors.size(); ++i) of.stage(tensors[i], parameters[i].gradient);
    of.average();
  }
};

std::vector<float> joined(std::vector<slice> const& parameters) {
  std::vector<float> all;
  for (auto const& p : parameters) all.insert(all.end(), p.gradient.begin(), p.gradient.end());
  return all;
}

double norm(std::vector<double> const& x) {
  double squares = 0;
  for (double const v : x) squares += v * v;
  return std::sqrt(squares);
}

/// S without k entries drawn from all: what random selection of the sum itself would leave.
double random_rest(std::vector<double> sum, std::size_t k, int step) {
  std::mt19937_64 random(seed * 1000003 + static_cast<std::uint64_t>(step));
  std::vector<bool> drawn(sum.size());
  while (k > 0) {
    auto const i = random() % sum.size();
    if (drawn[i]) continue;
    drawn[i] = true;
    sum[i] = 0;
    --k;
  }
  return norm(sum);
}

template <class Comm>
std::vector<double> sum_over(Comm& comm, std::vector<float> const& mine) {
  std::vector<double> all(mine.begin(), mine.end());
  comm.all_reduce_sum(std::span(all));
  return all;
}

/// The first fifth of all steps at 0.25, 0.063, 0.015 and 0.004, then the setting's own density.
gp::warm_up schedule_of(setting const& s, int steps) {
  return {.density = s.density, .steps_per_epoch = static_cast<std::uint64_t>(std::max(steps / 20, 1))};
}

template <class Task, class Comm>
void train_rank(Task const& task, Comm& comm, setting const& s, bool quick, std::vector<record>& records) {
  auto const steps = quick ? Task::quick_steps : Task::steps, every = std::max(steps / Task::records, 1);
  typename Task::replica replica(task, seed);
  auto const parameters = replica.parameters();
  bool const remembers = s.method != "dense", first = comm.rank() == 0;
  double loss = 0;
  exchange now(comm, s, parameters);
  if (s.warm()) now.of.follow(now.tensors[0], "density", schedule_of(s, steps));

  for (int step = 1; step <= steps; ++step) {
    loss += replica.differentiate(step, comm.rank(), comm.size());

    bool const look = step % every == 0;
    std::vector<double> sum;
    if (look && remembers) {
      auto signal = joined(parameters);
      auto const memory = now.memory();
      for (std::size_t i = 0; i < signal.size(); ++i) signal[i] += memory[i];
      sum = sum_over(comm, signal);
    }
    now.average(parameters);
    record r{Task::name, s, step};
    if (look && remembers) {
      auto const memories = sum_over(comm, now.memory());
      if (first) {
        auto const update = joined(parameters);
        auto rest = sum;
        for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= static_cast<double>(update[i]) * s.ranks;
        auto const density = s.warm() ? schedule_of(s, steps)(static_cast<std::uint64_t>(step - 1)) : s.density;
        r.delta = norm(rest) / random_rest(sum, gp::kept_of(density, sum.size()), step);
        for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= memories[i];
        r.lost = norm(rest) / norm(sum);
      }
    }
    replica.update();
    if (!look) continue;

    std::array const mine{loss / every, static_cast<double>(now.of.stats().bytes_sent)};
    std::vector<double> all(2 * static_cast<std::size_t>(comm.size()));
    comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    for (std::size_t p = 0; p < all.size(); p += 2) {
      r.loss += all[p] / comm.size();
      r.contributed += all[p + 1] / comm.size();
    }
    r.on_wire = r.contributed * sends(s);
    loss = 0;
    if (first) records.push_back(r);
  }

  auto const values = replica.values();
  std::vector<float> all(values.size() * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(all)));
  for (int p = 1; p < comm.size(); ++p)
    if (std::memcmp(values.data(), all.data() + static_cast<std::size_t>(p) * values.size(), 4 * values.size()) != 0)
      throw std::runtime_error("after the run, rank " + std::to_string(p) + " differs from another");
  if (first) records.back().test = replica.test(quick);
}

std::vector<setting> all_settings(std::span<int const> worlds) {
  std::vector<setting> all;
  for (int const P : worlds) {
    all.push_back({"dense", 1, P});
    for (double const d : densities)
      for (auto const* m : {"top_k", "gtop_k", "gtop_k_published", "random_k"}) all.push_back({m, d, P});
    for (auto const* m : {"top_k_warm", "gtop_k_warm"}) all.push_back({m, densities.back(), P});
  }
  return all;
}

// ---- files and runs ---------------------------------------------------------------------------------------------

constexpr char const* heading = "task,method,density,ranks,step,loss,contributed_bytes,wire_bytes,delta,lost,test";

void write_csv(std::vector<record> const& records, std::string const& path) {
  std::ofstream file(path);
  file << heading << '\n';
  auto const known = [](double v, int digits) {
    std::ostringstream words;
    words.precision(digits);
    if (!std::isnan(v)) words << v;
    return words.str();
  };
  for (auto const& r : records)
    file << r.task << ',' << r.of.method << ',' << r.of.density << ',' << r.of.ranks << ',' << r.step << ','
         << known(r.loss, 5) << ',' << known(r.contributed, 12) << ',' << known(r.on_wire, 12) << ','
         << known(r.delta, 5) << ',' << known(r.lost, 3) << ',' << known(r.test, 5) << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write the figures to '" + path + "'");
}

template <class Task>
void train(bool quick, std::string const& csv, std::vector<record>& records) {
  Task const task;
  auto const settings = all_settings(Task::worlds);
  for (std::size_t i = 0; i < settings.size(); ++i) {
    auto const& s = settings[i];
    auto const start = std::chrono::steady_clock::now();
    bool diverged = false;
    try {
      gp::run_ranks(
          s.ranks, [&](gp::thread_communicator& comm) { train_rank(task, comm, s, quick, records); },
          std::chrono::minutes(5));
    } catch (gp::non_finite_error const&) {
      diverged = true;  // its curve ends there
    }
    write_csv(records, csv);  // what was trained is not lost if the rest is stopped
    std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start;
    std::cerr << Task::name << ", run " << i + 1 << " of " << settings.size() << ": " << s.method << " at " << s.density
              << ", P = " << s.ranks << (diverged ? ": diverged after loss " : ": loss ") << records.back().loss
              << ", test " << records.back().test << ", " << svg::number(took.count(), 1) << " s\n";
  }
}

std::vector<record> read_csv(std::string const& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != heading)
    throw std::runtime_error("'" + path + "' does not begin with the heading that this program writes; train first");
  std::vector<record> all;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::istringstream parts(line + ',');
    for (std::string one; std::getline(parts, one, ',');) cells.push_back(one);
    if (cells.size() != 11) throw std::runtime_error("'" + path + "' has a line without 11 columns: " + line);
    auto const value = [&](std::size_t i) { return cells[i].empty() ? std::nan("") : std::stod(cells[i]); };
    all.push_back({cells[0],
                   {cells[1], value(2), std::stoi(cells[3])},
                   std::stoi(cells[4]),
                   value(5),
                   value(6),
                   value(7),
                   value(8),
                   value(9),
                   value(10)});
  }
  return all;
}

/// One panel a density and number of ranks; `point` gives (x, y) of a record, y NaN to leave it out.
svg::line_chart chart_of(std::vector<record> const& records, std::string const& task, std::span<int const> worlds,
                         std::function<std::pair<double, double>(record const&)> const& point) {
  svg::line_chart chart;
  std::vector<std::size_t> number(methods.size());
  auto const curve_of = [&](std::string const& key, double density, int ranks) {
    std::vector<std::pair<double, double>> points;
    for (auto const& r : records)
      if (r.task == task && r.of.method == key && r.of.ranks == ranks && (key == "dense" || r.of.density == density))
        if (auto const p = point(r); !std::isnan(p.second)) points.push_back(p);
    return points;
  };
  for (std::size_t m = 0; m < methods.size(); ++m) {
    bool drawn = false;
    for (double const d : densities)
      for (int const P : worlds) drawn = drawn || !curve_of(methods[m].key, d, P).empty();
    number[m] = chart.pens.size();
    if (drawn) chart.pens.push_back(svg::okabe_ito(methods[m].colour, methods[m].label, methods[m].dashes));
  }
  for (int const P : worlds)
    for (double const d : densities) {
      std::ostringstream title;
      title << "density " << d << ", P = " << P;
      svg::panel panel{title.str(), {}};
      for (std::size_t m = 0; m < methods.size(); ++m)
        if (auto points = curve_of(methods[m].key, d, P); !points.empty())
          panel.curves.push_back({number[m], std::move(points)});
      chart.panels.push_back(std::move(panel));
    }
  return chart;
}

template <class Task>
void draw(std::vector<record> const& records, std::string const& folder) {
  auto const finish = [&](svg::line_chart& chart, char const* what, char const* file) {
    chart.title = std::string(Task::title) + ": " + what;
    chart.write(folder + "/gtopk_" + Task::name + "_" + file + ".svg");
  };
  auto const loss_axis = [&](svg::line_chart& chart) {
    chart.y = Task::logarithmic ? svg::axis::logarithmic : svg::axis::linear;
    chart.y_title = Task::logarithmic ? "training loss, nats (logarithmic)" : "training loss, nats";
    chart.y_high = Task::guess * 1.15;  // higher, a run has diverged
  };
  auto by_step =
      chart_of(records, Task::name, Task::worlds, [](record const& r) { return std::pair(double(r.step), r.loss); });
  by_step.subtitle = "One seed, the same batches and learning rate for all; error feedback everywhere but dense";
  by_step.x_title = "step";
  loss_axis(by_step);
  finish(by_step, "loss against step", "steps");

  auto by_bytes =
      chart_of(records, Task::name, Task::worlds, [](record const& r) { return std::pair(r.on_wire, r.loss); });
  by_bytes.subtitle = "Bytes of messages as rings and trees send them, from the first step on; mean over the ranks";
  by_bytes.x = svg::axis::bytes;
  by_bytes.x_title = "bytes sent by a rank so far (logarithmic; left is less)";
  loss_axis(by_bytes);
  finish(by_bytes, "loss against bytes", "bytes");

  auto ratio =
      chart_of(records, Task::name, Task::worlds, [](record const& r) { return std::pair(double(r.step), r.delta); });
  ratio.subtitle = "What an update leaves of the sum S of all signals, over what k random entries of S would leave";
  ratio.x_title = "step";
  ratio.y_title = "|S - update| / |S - random-k(S)|";
  ratio.y_low = 0;
  finish(ratio, "the assumption of gTop-k", "delta");
}

constexpr char const* usage = R"(Trains two networks with five ways to exchange gradients, and writes what happened.

  bench.evidence.gtopk [--quick] [--draw] [--task NAME] FOLDER

  FOLDER       where gtopk.csv and the charts gtopk_*.svg go; it must exist
  --quick      a few steps, to see that everything works
  --task NAME  trains only digits, shakespeare or shakespeare_plain; what gtopk.csv holds of the others stays
  --draw       only the charts, from the gtopk.csv that is there
)";

template <class... Task>
bool train_and_draw(std::string const& folder, bool quick, bool only_draw, std::string const& only) {
  auto const csv = folder + "/gtopk.csv";
  auto const chosen = [&](std::string const& name) { return !only_draw && (only.empty() || only == name); };
  if (!only.empty() && (... && (only != Task::name))) return false;
  std::vector<record> records;
  if (only_draw || !only.empty()) records = read_csv(csv);
  std::erase_if(records, [&](record const& r) { return chosen(r.task); });
  ((chosen(Task::name) ? train<Task>(quick, csv, records) : void()), ...);
  (draw<Task>(records, folder), ...);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false, only_draw = false;
  std::string folder, only;
  for (int i = 1; i < argc; ++i) {
    std::string const word = argv[i];
    if (word == "--quick")
      quick = true;
    else if (word == "--draw")
      only_draw = true;
    else if (word == "--task" && i + 1 < argc)
      only = argv[++i];
    else if (word == "--help" || word == "-h")
      return std::cout << usage, 0;
    else if (word.starts_with("-") || !folder.empty())
      return std::cerr << "gtopk: what is '" << word << "'? --help lists the options\n", 2;
    else
      folder = word;
  }
  if (folder.empty()) return std::cerr << usage, 2;
  try {
    Kokkos::ScopeGuard const kokkos(argc, argv);
    if (!train_and_draw<digits_task, shakespeare_task<true>, shakespeare_task<false>>(folder, quick, only_draw, only))
      return std::cerr << "gtopk: there is no task '" << only << "'; --help lists them\n", 2;
    return 0;
  } catch (std::exception const& e) {
    std::cerr << "gtopk: " << e.what() << '\n';
    return 1;
  }
}
