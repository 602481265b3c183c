// SPDX-License-Identifier: Apache-2.0
// A communicator of one's own: rank, size, and one operation. Here the ranks are threads that meet at a std::barrier.

#include <gradpress/gradpress.hpp>

#include <barrier>
#include <cstdio>
#include <thread>

namespace gp = gradpress;

struct meeting {
  std::barrier<> gate{3};
  std::byte const* from[3] = {};
};
struct my_communicator {
  meeting& all_of_us;
  int me;
  int rank() const { return me; }
  int size() const { return 3; }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    all_of_us.from[me] = mine.data();
    all_of_us.gate.arrive_and_wait();
    for (std::size_t p = 0; p < 3; ++p) std::copy_n(all_of_us.from[p], mine.size(), all.data() + p * mine.size());
    all_of_us.gate.arrive_and_wait();
  }
};

int main() {
  Kokkos::initialize();
  meeting hall;
  float result[3] = {};
  std::vector<std::thread> ranks;
  for (int r = 0; r < 3; ++r)
    ranks.emplace_back([&hall, &result, r] {
      gp::reducer reducer{gp::serial{}, my_communicator{hall, r}};
      auto const w =
          reducer.add("w", 100, 1, gp::gtop_k_sgd(0.1));  // sums, trees, all of it is derived from all_gather
      std::vector<float> gradient(100, static_cast<float>(r));
      gradient[42] = 30.f;
      reducer.average(w, gradient.data());
      result[r] = gradient[42];
    });
  for (auto& t : ranks) t.join();
  std::printf("element 42 is %.1f on all ranks\n", result[0]);
  Kokkos::finalize();
  return result[0] == 30.f && result[1] == 30.f && result[2] == 30.f ? 0 : 1;
}
