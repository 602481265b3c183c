// SPDX-License-Identifier: Apache-2.0
// A user's program: two workers, here two threads of one process, average their gradients, sending the largest entries
// only.
#include <gradpress/gradpress.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace gp = gradpress;

int main(int argc, char** argv) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  std::vector<double> sums(2);

  gp::run_ranks(2, [&](gp::thread_communicator& comm) {
    gp::reducer reducer{gp::serial{}, comm};
    auto const weights =
        reducer.add("weights", 64, 16, gp::compress_with(gp::top_k{.density = 0.01}, gp::error_feedback{}));
    std::vector<float> gradient(64 * 16, 0.0f);
    gradient[7] = static_cast<float>(1 + comm.rank());
    reducer.average(weights, gradient.data());
    for (float const g : gradient) sums[static_cast<std::size_t>(comm.rank())] += g;
  });

  std::printf("the mean of 1 and 2: %g on rank 0, %g on rank 1\n", sums[0], sums[1]);
  return std::abs(sums[0] - 1.5) < 1e-6 && sums[0] == sums[1] ? 0 : 1;
}
