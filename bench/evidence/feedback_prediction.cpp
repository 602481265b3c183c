// SPDX-License-Identifier: Apache-2.0

/// \file
/// What does predicting gradients from the last ones save? The digits' network trained by `predictive` over thresholds
/// and orders, with all images in each step, where gradients change little, and with 64, where they are mostly noise.
/// `./dev evidence feedback` runs it through feedback.py, which makes the page.

#include "../../examples/digits/dataset.hpp"
#include "../../examples/digits/network.hpp"
#include "../../examples/support/line_chart.hpp"
#include "../support/evidence_main.hpp"

#include <gradpress/gradpress.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <optional>
#include <stdexcept>

namespace {

namespace gp = gradpress;
using reducer = gp::reducer<gp::serial>;

constexpr std::uint64_t seed = 1;
constexpr int ranks = 4;
constexpr float rate = 0.2f, momentum = 0.5f;

/// How gradients travel: as floats, or 8 bits, of all that a rank has or of what its prediction lacks.
struct method {
  std::string key, label;
  int order;  ///< 0: no prediction
  double threshold;
  bool eight_bits;
};
std::vector<method> const methods = [] {
  std::vector<method> all{{"dense", "no prediction", 0, 0, false}, {"codes", "no prediction, 8 bits", 0, 0, true}};
  for (int const order : {1, 2, 4})
    for (int const percent : {0, 10, 20, 40, 60}) {
      auto const words = "p = " + std::to_string(order) + ", " + std::to_string(percent) + " %";
      all.push_back({"p" + std::to_string(order) + "_" + std::to_string(percent), words, order, percent / 100., true});
    }
  return all;
}();

/// Where a run stands after a step.
struct record {
  std::string batch, method;
  int step = 0;
  double loss = 0;   ///< of training, mean since the last record
  double sends = 0;  ///< messages with more than coefficients in them, of a rank, so far
  double bytes = 0;  ///< that a rank handed in so far, without agreement and vote
  double test = 0;   ///< accuracy
};

template <class Comm>
void train_rank(digits::dataset const& data, Comm& comm, std::size_t batch, method const& m, int steps,
                std::vector<record>& records) {
  digits::network model(seed);
  reducer over(gp::serial{}, comm, {.seed = seed});
  auto const tensors = model.parameters();
  std::vector<reducer::part_of_group> parts;
  std::size_t n = 0;
  for (auto const* t : tensors) parts.push_back({t->name, t->rows, t->cols}), n += t->value.size();
  std::vector<reducer::tensor> handles;
  auto const add = [&](auto const& how) { handles = over.add_group("model", parts, how); };
  gp::stochastic_int const code{.bits = 8, .block = 256};
  gp::temporal_prediction const prediction{.order = std::max(m.order, 1), .threshold = m.threshold};
  if (m.order > 0)
    add(gp::predictive(gp::compress_with(code), prediction));
  else if (m.eight_bits)
    add(gp::compress_with(code));
  else
    add(gp::compress_with());

  // With all images in each step a rank keeps its own, or its gradient would be another one in each step.
  auto const share = batch / ranks, in_epoch = batch == 64 ? data.train.size() / batch : 100000;
  auto const sent_bytes = [&] { return over.stats().bytes_sent - over.stats().control_bytes; };
  std::vector<std::size_t> shard;
  std::size_t epoch = 0;
  double loss = 0, sends = 0;
  auto const every = std::max(steps / 50, 1);
  for (int step = 1; step <= steps; ++step) {
    auto const number = static_cast<std::size_t>(step - 1);
    if (auto const now = 1 + number / in_epoch; now != epoch)
      shard = data.shard(comm.rank(), ranks, seed, static_cast<int>(epoch = now));
    loss += static_cast<double>(
        model.differentiate(data.train, std::span(shard).subspan(batch == 64 ? number % in_epoch * share : 0, share)));
    for (std::size_t i = 0; i < handles.size(); ++i) over.stage(handles[i], std::span(tensors[i]->gradient));
    auto const before = over.stats().bytes_sent;
    over.average();
    sends += static_cast<double>(over.stats().bytes_sent - before) > static_cast<double>(n) ? 1 : 0;
    for (auto* t : tensors) digits::momentum_sgd{.rate = rate, .momentum = momentum}.step(*t);
    if (step % every != 0) continue;
    std::vector<double> mine{loss / every, sends, static_cast<double>(sent_bytes())};
    comm.all_reduce_sum(std::span(mine));
    loss = 0;
    if (comm.rank() == 0)
      records.push_back({batch == 64 ? "small" : "all", m.key, step, mine[0] / ranks, mine[1] / ranks, mine[2] / ranks,
                         model.accuracy(data.test)});
  }
}

void train(bool quick, std::vector<record>& records) {
  digits::dataset const data(digits::read_samples(DIGITS_DATA));
  auto const everything = data.train.size() / ranks * ranks;
  for (auto const batch : {everything, std::size_t{64}})
    for (auto const& m : methods) {
      auto const start = std::chrono::steady_clock::now();
      auto const steps = quick ? 20 : 500;
      gp::run_ranks(
          ranks, [&](gp::thread_communicator& comm) { train_rank(data, comm, batch, m, steps, records); },
          std::chrono::minutes(5));
      std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start;
      auto const& r = records.back();
      std::cerr << batch << " images a step, " << m.label << ": loss " << r.loss << ", " << r.sends << " sends, "
                << svg::number(took.count(), 1) << " s\n";
    }
}

// ---- files ------------------------------------------------------------------------------------------------------

void write_csv(std::vector<record> const& records, std::string const& path) {
  std::ofstream file(path);
  file << "batch,method,step,loss,sends,bytes,test\n";
  for (auto const& r : records)
    file << r.batch << ',' << r.method << ',' << r.step << ',' << r.loss << ',' << r.sends << ','
         << static_cast<std::uint64_t>(r.bytes) << ',' << r.test << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write '" + path + "'");
}

/// Loss against `x_of`: three orders side by side above, with all images; below, with 64.
template <class Of>
void draw(std::vector<record> const& records, std::string const& path, char const* what, svg::axis axis,
          Of const& x_of) {
  svg::line_chart chart;
  chart.title = std::string("Training loss against ") + what;
  chart.subtitle = "Digits, 4 ranks, residuals in 8 bits; above all images in each step, below 64";
  chart.x_title = what;
  chart.x = axis;
  chart.y = svg::axis::logarithmic;
  chart.y_title = "training loss, nats (logarithmic)";
  chart.y_high = 2.6;
  chart.pens = {svg::okabe_ito(0, "no prediction", ""),
                svg::okabe_ito(1, "always sent", "6 3"),
                svg::okabe_ito(3, "above 10 % of |g|"),
                svg::okabe_ito(4, "20 %"),
                svg::okabe_ito(2, "40 %"),
                svg::okabe_ito(2, "60 %", "2 3")};
  for (std::string const batch : {"all", "small"})
    for (int const order : {1, 2, 4}) {
      svg::panel p{"p = " + std::to_string(order) + (batch == "all" ? ", all images" : ", 64 images"), {}};
      auto const add = [&](std::size_t pen, std::string const& key) {
        svg::curve c{pen, {}};
        for (auto const& r : records)
          if (r.batch == batch && r.method == key) c.points.emplace_back(std::max(x_of(r), 1.), r.loss);
        p.curves.push_back(std::move(c));
      };
      add(0, "codes");
      std::size_t pen = 1;
      for (auto const* percent : {"0", "10", "20", "40", "60"}) add(pen++, "p" + std::to_string(order) + "_" + percent);
      chart.panels.push_back(std::move(p));
    }
  chart.write(path);
}

constexpr char const* usage = R"(The digits' network trained with gradients that are predicted from the last ones.

  bench.evidence.feedback_prediction [--quick] FOLDER

  FOLDER       where feedback_prediction.csv and the charts feedback_prediction_*.svg go; it must exist
  --quick      a few steps, to see that everything works
)";

}  // namespace

int main(int argc, char** argv) {
  return evidence::run_main(argc, argv, "feedback_prediction", usage, [](bool quick, std::string const& folder) {
    std::vector<record> records;
    train(quick, records);
    write_csv(records, folder + "/feedback_prediction.csv");
    draw(records, folder + "/feedback_prediction_bytes.svg", "bytes handed in by a rank", svg::axis::bytes,
         [](record const& r) { return r.bytes; });
    draw(records, folder + "/feedback_prediction_sends.svg", "messages sent by a rank", svg::axis::linear,
         [](record const& r) { return r.sends; });
  });
}
