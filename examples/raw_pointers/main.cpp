// SPDX-License-Identifier: Apache-2.0
// gradpress in a training loop that has raw pointers: register each tensor once, stage and average in every step.

#include <gradpress/gradpress.hpp>

#include <cstdio>
#include <vector>

namespace gp = gradpress;

// What an existing program looks like: parameters and gradients as arrays, and a function that fills the gradients.
struct model {
  std::vector<float> weight = std::vector<float>(64 * 32, 1.f), bias = std::vector<float>(64, 1.f);
  std::vector<float> weight_gradient = std::vector<float>(64 * 32), bias_gradient = std::vector<float>(64);

  void backward(int rank) {  // each worker pulls towards its own optimum; their mean is 0.5 * (1 + rank averages)
    for (std::size_t i = 0; i < weight.size(); ++i) weight_gradient[i] = weight[i] - static_cast<float>(rank);
    for (std::size_t i = 0; i < bias.size(); ++i) bias_gradient[i] = bias[i] - static_cast<float>(rank);
  }
  void step(float rate) {
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] -= rate * weight_gradient[i];
    for (std::size_t i = 0; i < bias.size(); ++i) bias[i] -= rate * bias_gradient[i];
  }
};

int main() {
  Kokkos::initialize();
  gp::run_ranks(4, [](gp::thread_communicator& comm) {
    model net;
    gp::reducer reducer{gp::serial{}, comm};
    auto const weight =
        reducer.add("fc.weight", 64, 32, gp::compress_with(gp::top_k{.density = 0.05}, gp::error_feedback{}));
    auto const bias = reducer.add("fc.bias", 64);  // no method: dense

    for (int step = 0; step < 400; ++step) {
      net.backward(comm.rank());
      reducer.stage(weight, net.weight_gradient.data());
      reducer.stage(bias, net.bias_gradient.data());
      reducer.average();  // gradients now hold the mean over the ranks
      net.step(0.05f);
    }
    auto const off = std::abs(net.weight[7] - 1.5f);
    if (comm.rank() == 0)
      std::printf("weight %.3f (optimum 1.500), %.1f times fewer bytes than dense\n", net.weight[7],
                  reducer.stats().ratio());
    if (off > 0.1f) throw std::runtime_error("did not converge");
  });
  Kokkos::finalize();
}
