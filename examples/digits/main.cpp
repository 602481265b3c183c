// SPDX-License-Identifier: Apache-2.0

/// \file
/// What compressed gradient exchange does to a real, if small, training: ten methods, the bytes they send, and how well
/// the network reads handwritten digits afterwards.

#include "chart.hpp"
#include "dataset.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "training.hpp"

#include "../support/table.hpp"

#include <gradpress/gradpress.hpp>
#ifdef GRADPRESS_HAS_MPI
#include <mpi.h>
#include <gradpress/communicate/mpi.hpp>
#endif

#include <Kokkos_Core.hpp>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace digits;
using report::fixed;

/// One method over all seeds: means, and the standard deviation of the accuracy.
struct result {
  method const* of;
  outcome mean;
  double spread = 0;
};

result summarise(method const& of, std::vector<outcome> const& runs) {
  result r{&of, {}, 0};
  auto const n = static_cast<double>(runs.size());
  for (auto const& o : runs) {
    r.mean.accuracy += o.accuracy / n;
    r.mean.loss += o.loss / n;
    r.mean.bytes += o.bytes / n;
    r.mean.dense_bytes += o.dense_bytes / n;
    r.mean.codec_seconds += o.codec_seconds / n;
    r.mean.link_seconds += o.link_seconds / n;
  }
  for (auto const& o : runs) r.spread += std::pow(o.accuracy - r.mean.accuracy, 2);
  r.spread = runs.size() > 1 ? std::sqrt(r.spread / (n - 1)) : 0;
  return r;
}

std::vector<method> chosen_methods(options const& o) {
  auto const all = all_methods();
  if (o.methods.empty()) return all;
  std::vector<method> chosen;
  for (auto const& key : o.methods) {
    auto const found = std::find_if(all.begin(), all.end(), [&](method const& m) { return m.key == key; });
    if (found == all.end()) throw usage_error("there is no method '" + key + "'; --help lists them all");
    chosen.push_back(*found);
  }
  return chosen;
}

/// Says where the work stands: one line that is rewritten on a terminal, else one line a run.
class progress {
  options const& options_;
  std::size_t methods_;
  bool terminal_ = isatty(STDERR_FILENO) != 0;

 public:
  progress(options const& o, std::size_t methods) : options_(o), methods_(methods) {}

  void show(std::size_t number, method const& m, int seed, int epoch, double loss) const {
    if (!terminal_ && epoch != options_.epochs) return;
    std::cerr << (terminal_ ? "\r\033[K" : "") << "method " << number << " of " << methods_ << " (" << m.label
              << "), seed " << seed << " of " << options_.seeds << ", epoch " << epoch << " of " << options_.epochs
              << ", loss " << fixed(loss, 4) << (terminal_ ? "" : "\n") << std::flush;
  }
  void finish() const {
    if (terminal_) std::cerr << "\r\033[K" << std::flush;
  }
};

void print_table(std::vector<result> const& results, options const& o, int ranks) {
  std::cout << "\nDigits, " << ranks << " ranks, " << o.epochs << (o.epochs == 1 ? " epoch, " : " epochs, ") << o.seeds
            << (o.seeds == 1 ? " seed" : " seeds") << "\n\n";
  report::table t({"method", "bytes a step\nand rank", "ratio", "test accuracy", "seconds\nin codec",
                   "seconds on a\n1 Gbit/s link (*)"});
  for (auto const& r : results) {
    auto const accuracy = fixed(100 * r.mean.accuracy, 2) + " %";
    t.add({r.of->label, fixed(r.mean.bytes, 0), r.mean.bytes > 0 ? fixed(r.mean.dense_bytes / r.mean.bytes, 1) : "-",
           o.seeds > 1 ? accuracy + " +- " + fixed(100 * r.spread, 2) : accuracy, fixed(r.mean.codec_seconds, 3),
           fixed(r.mean.link_seconds, 3)});
  }
  t.print(std::cout);
  std::cout
      << "\nSeconds are those of one run of training. (*) simulated, not measured: 8 ns a byte and 50 us a message.\n"
      << "The replicas of all ranks were equal to the bit after every run.\n";
}

/// To be told at the start, and not after the training.
void require_writable(std::string const& path) {
  if (!std::ofstream(path, std::ios::app)) throw std::runtime_error("cannot write to '" + path + "'");
}

void write_csv(std::vector<result> const& results, std::string const& path) {
  std::ofstream file(path);
  file << "method,bytes_a_step_and_rank,ratio,accuracy,accuracy_deviation,loss,codec_seconds,simulated_link_seconds\n";
  for (auto const& r : results)
    file << r.of->key << ',' << fixed(r.mean.bytes, 1) << ','
         << fixed(r.mean.bytes > 0 ? r.mean.dense_bytes / r.mean.bytes : 0, 3) << ',' << fixed(r.mean.accuracy, 5)
         << ',' << fixed(r.spread, 5) << ',' << fixed(r.mean.loss, 5) << ',' << fixed(r.mean.codec_seconds, 5) << ','
         << fixed(r.mean.link_seconds, 5) << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write the figures to '" + path + "'");
}

void draw(std::vector<result> const& results, options const& o, int ranks) {
  std::vector<chart_point> points;
  for (auto const& r : results)
    points.push_back(
        {r.of->label, std::max(r.mean.bytes, 1.), 100 * r.mean.accuracy, 100 * r.spread, r.of->key == "dense"});
  auto const below =
      std::to_string(ranks) + " ranks, " + std::to_string(o.epochs) + " epochs, " +
      (o.seeds > 1 ? "mean of " + std::to_string(o.seeds) + " seeds, bars: standard deviation" : "1 seed");
  chart("Handwritten digits: accuracy against bytes sent", below, points).write(o.chart);
}

/// Trains with every method and every seed. `launch(body)` calls body(communicator) on each rank; `speaks` is true in
/// the one process that reports.
template <class Launch>
void compare(options const& o, std::vector<method> const& methods, int ranks, bool speaks, Launch const& launch) {
  dataset const data(read_samples(o.data));
  schedule const plan{.epochs = o.epochs,
                      .optimizer = {.rate = static_cast<float>(o.rate), .momentum = static_cast<float>(o.momentum)}};
  if (data.train.size() / static_cast<std::size_t>(ranks) < plan.batch)
    throw usage_error(std::to_string(ranks) + " ranks are too many for " + std::to_string(data.train.size()) +
                      " samples");

  if (speaks)
    for (auto const& path : {o.csv, o.chart}) require_writable(path);

  progress const line(o, methods.size());
  std::vector<result> results;
  for (auto const& m : methods) {
    std::vector<outcome> runs;
    for (int seed = 1; seed <= o.seeds; ++seed) {
      outcome run;
      launch([&](auto& comm) {
        bool const first = comm.rank() == 0;
        auto const report = [&](int epoch, double loss) {
          if (first) line.show(results.size() + 1, m, seed, epoch, loss);
        };
        auto const mine = train(comm, data, m, plan, static_cast<std::uint64_t>(seed), report);
        if (first) run = mine;
      });
      runs.push_back(run);
    }
    results.push_back(summarise(m, runs));
  }
  if (!speaks) return;

  line.finish();
  print_table(results, o, ranks);
  write_csv(results, o.csv);
  draw(results, o, ranks);
  std::cout << "Chart: " << o.chart << "\nFigures: " << o.csv << '\n';
}

void print_help() {
  std::cout << usage << "\nMethods (EF: error feedback):\n";
  for (auto const& m : all_methods())
    std::cout << "  " << m.key << std::string(15 - std::min<std::size_t>(m.key.size(), 14), ' ') << m.label << '\n';
}

void compare_threads(options const& o, std::vector<method> const& methods) {
  compare(o, methods, o.ranks, true,
          [&](auto const& body) { gp::run_ranks(o.ranks, [&](gp::thread_communicator& comm) { body(comm); }); });
}

#ifdef GRADPRESS_HAS_MPI
/// One rank that fails alone must not leave the others waiting: MPI_Abort ends them all.
int compare_processes(options const& o, std::vector<method> const& methods) {
  int ranks = 0, rank = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  try {
    gp::mpi_communicator comm{MPI_COMM_WORLD};
    compare(o, methods, ranks, rank == 0, [&](auto const& body) { body(comm); });
    return 0;
  } catch (std::exception const& e) {
    std::cerr << "digits: rank " << rank << ": " << e.what() << std::endl;
    return MPI_Abort(MPI_COMM_WORLD, 1);
  }
}
#endif

int run(options const& o, std::vector<method> const& methods, int& argc, char**& argv) {
#ifdef GRADPRESS_HAS_MPI
  if (o.mpi) {
    MPI_Init(&argc, &argv);
    int status = 0;
    {
      Kokkos::ScopeGuard const kokkos(argc, argv);
      status = compare_processes(o, methods);
    }
    MPI_Finalize();
    return status;
  }
#endif
  Kokkos::ScopeGuard const kokkos(argc, argv);
  compare_threads(o, methods);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    auto const o = parse({argv + 1, argv + argc});
    if (o.help) {
      print_help();
      return 0;
    }
    return run(o, chosen_methods(o), argc, argv);
  } catch (usage_error const& e) {
    std::cerr << "digits: " << e.what() << '\n';
    return 2;
  } catch (std::exception const& e) {
    std::cerr << "\ndigits: " << e.what() << '\n';
    return 1;
  }
}
