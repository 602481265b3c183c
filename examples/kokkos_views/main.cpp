// SPDX-License-Identifier: Apache-2.0
// Gradients as Kokkos views: stage the view itself; its size is checked on all ranks.

#include <gradpress/gradpress.hpp>

#include <cstdio>

namespace gp = gradpress;

int main() {
  Kokkos::initialize();
  gp::run_ranks(2, [](gp::thread_communicator& comm) {
    // In memory that serves gp::serial: ranks that are threads share no execution space.
    using device = Kokkos::Device<gp::serial, Kokkos::HostSpace>;
    Kokkos::View<float**, Kokkos::LayoutRight, device> gradient("gradient", 128, 64);
    for (std::size_t i = 0; i < 128; ++i)
      for (std::size_t j = 0; j < 64; ++j)
        gradient(i, j) = static_cast<float>(i + j) * static_cast<float>(comm.rank() + 1);

    gp::reducer reducer{gp::serial{}, comm};
    auto const w = reducer.add("w", 128, 64, gp::power_sgd(2));  // this gradient has rank 2: nothing is lost
    reducer.stage(w, gradient);
    reducer.average();

    auto const expected = 1.5f * (100 + 3);
    if (comm.rank() == 0)
      std::printf("gradient(100, 3) = %.3f, the mean is %.3f; %.0f times fewer bytes\n", gradient(100, 3), expected,
                  reducer.stats().ratio());
    if (std::abs(gradient(100, 3) - expected) > 0.05f) throw std::runtime_error("wrong mean");
  });
  Kokkos::finalize();
}
