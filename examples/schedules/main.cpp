// SPDX-License-Identifier: Apache-2.0
// Send much in the first epochs, then little: a knob that follows a schedule, and what it did as lines of a CSV file.

#include <gradpress/gradpress.hpp>

#include <iostream>
#include <sstream>

namespace gp = gradpress;

int main() {
  Kokkos::initialize();
  gp::run_ranks(2, [](gp::thread_communicator& comm) {
    gp::reducer reducer{gp::serial{}, comm};
    auto const w = reducer.add("w", 10000, 1, gp::top_k_sgd(0.001));
    reducer.follow(w, "density", gp::warm_up{.density = 0.001, .steps_per_epoch = 2});

    std::ostringstream lines;
    gp::csv_writer csv{lines};
    reducer.watch(w, std::ref(csv));
    for (int step = 0; step < 10; ++step) {
      std::vector<float> gradient(10000);
      for (std::size_t i = 0; i < gradient.size(); ++i)
        gradient[i] = static_cast<float>((i * 7919 + static_cast<std::size_t>(step + comm.rank())) % 1009) - 504.f;
      reducer.average(w, gradient.data());
    }
    if (comm.rank() == 0) std::cout << lines.str();
    // Two steps each of 2500, 630, 150, 40 and 10 entries of 8 bytes, behind headers of 32 bytes.
    if (reducer.stats().bytes_sent != 2 * (8 * (2500 + 630 + 150 + 40 + 10) + 5 * 32))
      throw std::runtime_error("not the bytes of the warm-up");
  });
  Kokkos::finalize();
}
