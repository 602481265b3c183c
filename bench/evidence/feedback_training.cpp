// SPDX-License-Identifier: Apache-2.0

/// \file
/// Where should a memory live? Two networks trained from one seed by optimizers that keep what was not delivered in
/// different places, all with random blocks of 1/64 of the model, over five learning rates. `./dev evidence feedback`
/// runs it through feedback.py, which makes the page.

#include "../../examples/support/line_chart.hpp"
#include "../support/evidence_main.hpp"
#include "tasks.hpp"

#include <gradpress/gradpress.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace {

namespace gp = gradpress;
using namespace evidence;
using reducer = gp::reducer<gp::serial>;
using doubles = std::vector<double>;

constexpr std::uint64_t seed = 1;
constexpr int ranks = 4;
constexpr double ratio = 64;
constexpr double factors[] = {0.25, 0.5, 1, 2, 4};  // of the task's learning rate

struct method {
  std::string key, label;
  std::size_t colour;
  std::string dashes;
};
std::vector<method> const methods{{"sgd", "dense SGD", 0, ""}, {"ef", "error feedback", 2, ""},
                                  {"def", "DEF", 1, ""},       {"def_a", "DEF-A", 1, "6 3"},
                                  {"saef", "SAEF", 4, ""},     {"cser", "CSER", 3, ""}};

constexpr auto blocks(double one_in) {
  return gp::compress_with(gp::random_block{.density = 1 / one_in}, gp::error_feedback{});
}

/// Calls use(driver) with the optimizer of that name. Each sends one number in 64 of a matrix: CSER one in 128 in every
/// step, and one in 32 in every fourth.
template <class Use>
void with_driver(std::string const& key, reducer& over, double rate, double momentum, Use const& use) {
  if (key == "sgd")
    use(gp::train_with(over, gp::sgd{.learning_rate = rate, .momentum = momentum}, gp::uncompressed));
  else if (key == "cser")
    use(gp::train_with(over, gp::cser{.learning_rate = rate, .momentum = momentum, .reset_every = 4}, blocks(2 * ratio),
                       blocks(ratio / 2)));
  else if (key == "saef")
    use(gp::train_with(over, gp::saef{.learning_rate = rate, .momentum = momentum}, blocks(ratio)));
  else if (key == "def_a")
    use(gp::train_with(over, gp::def_a{.learning_rate = rate, .momentum = momentum, .lambda = 0.3}, blocks(ratio)));
  else
    use(gp::train_with(over, gp::def{.learning_rate = rate, .momentum = momentum, .lambda = key == "def" ? 0.3 : 0},
                       blocks(ratio)));
}

/// Where a run stands after a step.
struct record {
  std::string task, method;
  double factor = 1;  ///< learning rate over the task's
  int step = 0;
  double loss = 0;   ///< of training where gradients were taken, mean over ranks and since the last record
  double test = 0;   ///< of the model that is returned: accuracy of digits, loss of characters
  double bytes = 0;  ///< that a rank handed in so far, but for the models that are looked at
};

template <class Task, class Comm>
void train_rank(Task const& task, Comm& comm, std::string const& key, double factor, bool quick,
                std::vector<record>& records) {
  auto const steps = quick ? Task::quick_steps : Task::steps, every = std::max(steps / 25, 1);
  typename Task::replica replica(task, seed);
  auto const parameters = replica.parameters();
  reducer over(gp::serial{}, comm, {.seed = seed});
  with_driver(key, over, factor * Task::rate, Task::momentum, [&](auto&& driver) {
    std::vector<std::size_t> handles;
    for (auto const& p : parameters) {
      gp::shape const dims{p.rows, p.cols};
      handles.push_back(
          (p.cols == 1 ? driver.add(p.name, dims, p.value, gp::uncompressed) : driver.add(p.name, dims, p.value))
              .index);
    }
    double loss = 0, looks = 0;
    auto const sent = [&] { return static_cast<double>(over.stats().bytes_sent); };
    for (int step = 1; step <= steps; ++step) {
      bool done = false;
      while (!done) {
        auto const ask = driver.next();
        loss += replica.differentiate(static_cast<int>(ask.sample) + 1, comm.rank(), comm.size());
        for (std::size_t i = 0; i < handles.size(); ++i) driver.stage({handles[i]}, parameters[i].gradient);
        done = driver.take();
      }
      if (step % every != 0) continue;
      doubles mine{loss / every, sent() - looks};
      auto const before = sent();
      driver.model();
      looks += sent() - before;  // a mean of all models costs a dense sum, and is no part of training
      comm.all_reduce_sum(std::span(mine));
      loss = 0;
      if (comm.rank() == 0)
        records.push_back(
            {Task::name, key, factor, step, mine[0] / ranks, replica.test(step < steps || quick), mine[1] / ranks});
    }
  });
  auto const values = replica.values();  // the model
  std::vector<float> all(values.size() * ranks);
  comm.all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(all)));
  for (std::size_t p = 1; p < ranks; ++p)
    if (std::memcmp(values.data(), all.data() + p * values.size(), 4 * values.size()) != 0)
      throw std::runtime_error("after the run, rank " + std::to_string(p) + " differs from another");
}

template <class Task>
void train(bool quick, std::vector<record>& records) {
  Task const task;
  for (auto const& m : methods)
    for (double const factor : factors) {
      if (quick && factor != 1) continue;
      auto const start = std::chrono::steady_clock::now();
      gp::run_ranks(
          ranks, [&](gp::thread_communicator& comm) { train_rank(task, comm, m.key, factor, quick, records); },
          std::chrono::minutes(5));
      std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start;
      std::cerr << Task::name << ", " << m.key << ", rate " << factor * Task::rate << ": loss " << records.back().loss
                << ", test " << records.back().test << ", " << svg::number(took.count(), 1) << " s\n";
    }
}

// ---- files ------------------------------------------------------------------------------------------------------

void write_csv(std::vector<record> const& records, std::string const& path) {
  std::ofstream file(path);
  file << "task,method,factor,step,loss,test,bytes\n";
  for (auto const& r : records)
    file << r.task << ',' << r.method << ',' << r.factor << ',' << r.step << ',' << r.loss << ',' << r.test << ','
         << static_cast<std::uint64_t>(r.bytes) << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write '" + path + "'");
}

template <class Task>
void draw(std::vector<record> const& records, std::string const& folder) {
  bool const accuracy = std::string(Task::name) == "digits";
  svg::line_chart steps;
  steps.title = std::string(Task::title) + ": against steps";
  steps.subtitle =
      "One seed and learning rate, 4 ranks, 1/64 of each matrix a step; training loss is taken where gradients are";
  steps.x_title = "step";
  steps.y_title = accuracy ? "training loss, nats (logarithmic)" : "nats";
  steps.y = accuracy ? svg::axis::logarithmic : svg::axis::linear;
  steps.y_high = Task::guess * 1.15;
  steps.columns = 2, steps.inner_width = 400, steps.inner_height = 240;
  steps.panels = {{"training loss", {}},
                  {accuracy ? "share of the test misread" : "test loss of the model returned", {}}};

  svg::line_chart rates = steps;
  rates.title = std::string(Task::title) + ": against the learning rate";
  rates.subtitle = "At the end of the run; what lies above the panel did not learn";
  rates.x_title = "learning rate (logarithmic)";
  rates.x = svg::axis::logarithmic;
  auto const shown = [&](double test) { return accuracy ? std::max(1 - test, 1e-3) : test; };
  for (auto const& m : methods) {
    svg::curve c[4];
    for (auto& one : c) one.pen = steps.pens.size();
    steps.pens.push_back(svg::okabe_ito(m.colour, m.label, m.dashes));
    std::vector<record> last;
    for (auto const& r : records) {
      if (r.task != Task::name || r.method != m.key) continue;
      if (r.factor == 1) c[0].points.emplace_back(r.step, r.loss), c[1].points.emplace_back(r.step, shown(r.test));
      if (!last.empty() && last.back().factor == r.factor)
        last.back() = r;
      else
        last.push_back(r);
    }
    for (auto const& r : last) {
      auto const finite = [](double v) { return std::isfinite(v) ? std::min(v, 1e3) : 1e3; };
      c[2].points.emplace_back(r.factor * Task::rate, finite(r.loss));
      c[3].points.emplace_back(r.factor * Task::rate, finite(shown(r.test)));
    }
    for (std::size_t i = 0; i < 2; ++i)
      steps.panels[i].curves.push_back(c[i]), rates.panels[i].curves.push_back(c[i + 2]);
  }
  rates.pens = steps.pens;
  steps.write(folder + "/feedback_" + Task::name + "_steps.svg");
  rates.write(folder + "/feedback_" + Task::name + "_rates.svg");
}

constexpr char const* usage =
    R"(Two networks trained by optimizers that keep what was not delivered in different places.

  bench.evidence.feedback_training [--quick] FOLDER

  FOLDER       where feedback_training.csv and the charts feedback_*.svg go; it must exist
  --quick      a few steps at one learning rate, to see that everything works
)";

template <class... Task>
void train_and_draw(bool quick, std::string const& folder) {
  std::vector<record> records;
  (train<Task>(quick, records), ...);
  write_csv(records, folder + "/feedback_training.csv");
  (draw<Task>(records, folder), ...);
}

}  // namespace

int main(int argc, char** argv) {
  return evidence::run_main(argc, argv, "feedback_training", usage, [](bool quick, std::string const& folder) {
    train_and_draw<digits_task, shakespeare_task<true>>(quick, folder);
  });
}
