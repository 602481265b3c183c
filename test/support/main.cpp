// SPDX-License-Identifier: Apache-2.0
// The main() of every test that runs in one process.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <Kokkos_Core.hpp>

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  doctest::Context context(argc, argv);
  int const failed = context.run();
  Kokkos::finalize();
  return failed;
}
