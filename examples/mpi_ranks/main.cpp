// SPDX-License-Identifier: Apache-2.0
// The same under MPI: one header more, and mpi_communicator in place of threads.   mpirun -n 2 ./mpi_ranks

#include <gradpress/communicate/mpi.hpp>
#include <gradpress/gradpress.hpp>

#include <cstdio>

namespace gp = gradpress;

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  Kokkos::initialize();
  int status = 0;
  {
    gp::mpi_communicator comm{MPI_COMM_WORLD};
    gp::reducer reducer{Kokkos::DefaultHostExecutionSpace{}, comm};
    auto const w = reducer.add("w", 1000, 1, gp::gtop_k_sgd(0.01));

    std::vector<float> gradient(1000);
    for (std::size_t i = 0; i < 1000; ++i) gradient[i] = i % 100 == 0 ? 10.f : 0.1f;
    reducer.average(w, gradient.data());

    if (comm.rank() == 0)
      std::printf("%d ranks: element 100 is %.1f, element 101 waits in the memory; %llu bytes sent\n", comm.size(),
                  gradient[100], static_cast<unsigned long long>(reducer.stats().bytes_sent));
    status = gradient[100] == 10.f && gradient[101] == 0.f ? 0 : 1;
  }
  Kokkos::finalize();
  MPI_Finalize();
  return status;
}
