// SPDX-License-Identifier: Apache-2.0

/// \file
/// A language model of characters, trained by several ranks under methods that the command line names as text.

#include "options.hpp"
#include "text.hpp"
#include "training.hpp"

#include "../support/table.hpp"

#include <gradpress/gradpress.hpp>

#include <Kokkos_Core.hpp>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace shakespeare;
using report::fixed;

/// Says where the work stands: one line that is rewritten on a terminal, else a line every now and then.
class progress {
  int steps_;
  bool terminal_ = isatty(STDERR_FILENO) != 0;

 public:
  explicit progress(int steps) : steps_(steps) {}
  void show(std::string const& method, int step, double loss) const {
    if (!terminal_ && step % std::max(steps_ / 3, 1) != 0) return;
    std::cerr << (terminal_ ? "\r\033[K" : "") << method << ", step " << step << " of " << steps_ << ", loss of rank 0 "
              << fixed(loss, 3) << (terminal_ ? "" : "\n") << std::flush;
  }
  void finish() const {
    if (terminal_) std::cerr << "\r\033[K" << std::flush;
  }
};

void run(options const& o) {
  auto const text = read_corpus(o.data);
  progress const line(o.steps);
  report::table results({"method", "training\nloss", "test\nloss", "bytes a step\nand rank", "ratio"});
  for (auto const& method : o.methods) {
    outcome result;
    gp::run_ranks(o.ranks, [&](gp::thread_communicator& comm) {
      bool const first = comm.rank() == 0;
      auto const mine = train(comm, text, o, method, [&](int step, double loss) {
        if (first) line.show(method, step, loss);
      });
      if (first) result = mine;
    });
    results.add({method, fixed(result.train_loss, 3), fixed(result.test_loss, 3), fixed(result.bytes, 0),
                 result.bytes > 0 ? fixed(result.dense_bytes / result.bytes, 1) : "-"});
  }
  line.finish();

  network const shown(text.symbols(), o.hidden, o.seed);
  std::cout << "\nCharacters, " << shown.size() << " parameters, " << o.ranks << " ranks, " << o.steps << " steps of "
            << o.sequences << " x " << o.length << " characters\n\n";
  results.print(std::cout);
  std::cout << "\nLosses are nats a character; a guess among all " << text.symbols() << " would be "
            << fixed(std::log(static_cast<double>(text.symbols())), 2)
            << ".\nThe replicas of all ranks were equal to the bit after every run.\n";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    auto const o = parse({argv + 1, argv + argc});
    if (o.help) {
      std::cout << usage;
      return 0;
    }
    Kokkos::ScopeGuard const kokkos(argc, argv);
    run(o);
    return 0;
  } catch (usage_error const& e) {
    std::cerr << "shakespeare: " << e.what() << '\n';
    return 2;
  } catch (std::exception const& e) {
    std::cerr << "\nshakespeare: " << e.what() << '\n';
    return 1;
  }
}
