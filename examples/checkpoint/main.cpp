// SPDX-License-Identifier: Apache-2.0
// The memories are part of the training state: save them beside the model, a file a rank, and resume bit for bit.

#include <gradpress/gradpress.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace gp = gradpress;

int main() {
  Kokkos::initialize();
  auto const folder = std::filesystem::temp_directory_path() / "gradpress-checkpoint-example";
  std::filesystem::create_directories(folder);
  gp::run_ranks(2, [&](gp::thread_communicator& comm) {
    auto const file = folder / ("rank" + std::to_string(comm.rank()) + ".gprc");
    auto const train = [&](gp::reducer<gp::serial>& reducer, gp::reducer<gp::serial>::tensor w, int from, int to) {
      std::vector<float> g(1000), sum(1000);
      for (int step = from; step < to; ++step) {
        for (std::size_t i = 0; i < 1000; ++i)
          g[i] = static_cast<float>(
                     (i * 7 + static_cast<std::size_t>(step) * 13 + static_cast<std::size_t>(comm.rank())) % 17) -
                 8.f;
        reducer.average(w, g.data());
        for (std::size_t i = 0; i < 1000; ++i) sum[i] += g[i];
      }
      return sum;
    };
    gp::reducer first{gp::serial{}, comm};
    auto const w = first.add("w", 1000, 1, gp::top_k_sgd(0.02));
    train(first, w, 0, 10);
    {
      std::ofstream out(file, std::ios::binary);
      first.save(out);
    }
    auto const uninterrupted = train(first, w, 10, 20);

    gp::reducer second{gp::serial{}, comm};  // a new process would begin here
    auto const w2 = second.add("w", 1000, 1, gp::top_k_sgd(0.02));
    std::ifstream in(file, std::ios::binary);
    second.load(in);
    auto const resumed = train(second, w2, 10, 20);
    if (resumed != uninterrupted) throw std::runtime_error("resumed differently");
    if (comm.rank() == 0) std::printf("resumed at step 10, equal bit for bit after 10 more steps\n");
  });
  std::filesystem::remove_all(folder);
  Kokkos::finalize();
}
