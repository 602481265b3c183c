// SPDX-License-Identifier: Apache-2.0
// The method as text, from a command line or a file:   ./string_form "low_rank(4) | error_feedback"

#include <gradpress/gradpress.hpp>
#include <gradpress/runtime/any_reducer.hpp>

#include <cstdio>

namespace gp = gradpress;

int main(int argc, char** argv) {
  std::string const text = argc > 1 ? argv[1] : "top_k(0.01) | stochastic_int(bits=8) | error_feedback";
  Kokkos::initialize();
  int status = 0;
  try {
    gp::run_ranks(4, [&](gp::thread_communicator& comm) {
      gp::any_reducer reducer{gp::serial{}, comm, text};
      auto const w = reducer.add("w", 256, 64);
      auto const b = reducer.add("b", 256, 1, "dense");
      std::vector<float> weight(256 * 64, 1.f), bias(256, static_cast<float>(comm.rank()));
      reducer.stage(w, weight.data());
      reducer.stage(b, bias.data());
      reducer.average();
      if (comm.rank() == 0)
        std::printf("%s: %.1f times fewer bytes; bias %.1f\n", reducer.method(w).c_str(), reducer.stats().ratio(),
                    bias[0]);
    });
  } catch (gp::configuration_error const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    status = 1;
  }
  Kokkos::finalize();
  return status;
}
