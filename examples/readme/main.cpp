// SPDX-License-Identifier: Apache-2.0
// The program of README.md; test/support/check_readme.py compares what stands between the marks.

// readme-begin
#include <gradpress/gradpress.hpp>
namespace gp = gradpress;

void worker(gp::thread_communicator& comm) {  // or gp::mpi_communicator, or your own type with one operation
  gp::reducer reducer{gp::serial{}, comm};
  auto const method = gp::compress_with(gp::top_k{.density = 0.01}, gp::error_feedback{});
  auto const weight = reducer.add("fc1.weight", 256, 64, method);  // once a tensor; the name keys its memory
  auto const bias = reducer.add("fc1.bias", 256);                  // no method: dense, fused with all others that are

  std::vector<float> weight_gradient(256 * 64, 1.f), bias_gradient(256, 1.f);
  reducer.stage(weight, weight_gradient.data());  // in every step
  reducer.stage(bias, bias_gradient.data());
  reducer.average();  // in place: the mean over the ranks; either all ranks succeed or all throw the same error
}

int main() {
  Kokkos::initialize();
  gp::run_ranks(4, worker);
  Kokkos::finalize();
}
// readme-end
