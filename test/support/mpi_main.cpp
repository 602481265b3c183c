// SPDX-License-Identifier: Apache-2.0
// The main() of every test that runs under MPI.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <mpi.h>

#include <Kokkos_Core.hpp>

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  Kokkos::initialize(argc, argv);
  doctest::Context context(argc, argv);
  // After a failed assertion the ranks may disagree about which collective comes next: stop all of them at once.
  context.setOption("abort-after", 1);
  int const failed = context.run();
  if (failed != 0) MPI_Abort(MPI_COMM_WORLD, failed);
  Kokkos::finalize();
  MPI_Finalize();
  return failed;
}
