// SPDX-License-Identifier: Apache-2.0
// A selector of one's own: every m-th entry, a different residue class in each step, the same on all ranks.

#include <gradpress/gradpress.hpp>

#include <cstdio>

namespace gp = gradpress;

struct every_mth {
  int m = 8;

  using family = gp::family::selector;
  static constexpr std::string_view name = "every_mth";
  static constexpr auto knobs = std::tuple{gp::knob{"m", &every_mth::m}};  // in the digest: ranks must agree on it
  static constexpr auto where = gp::support::shared;                       // no indices travel, values add up
  static constexpr bool fixed_size = false;
  std::size_t max_kept(std::size_t n) const { return n / static_cast<std::size_t>(m) + 1; }

  template <class Exec>
  void select(gp::step<Exec> const& ctx, gp::in<Exec> x, gp::selection<Exec>& kept) const {
    kept.count = 0;
    for (std::size_t i = ctx.number % static_cast<std::size_t>(m); i < x.extent(0); i += static_cast<std::size_t>(m))
      kept.indices(kept.count++) = static_cast<gp::index_t>(i);
  }
};

int main() {
  Kokkos::initialize();
  gp::run_ranks(3, [](gp::thread_communicator& comm) {
    gp::reducer reducer{gp::serial{}, comm};
    auto const w = reducer.add(
        "w", 100, 1, gp::compress_with(every_mth{.m = 10}, gp::stochastic_int{.bits = 8}, gp::error_feedback{}));
    std::vector<float> sum(100);
    for (int step = 0; step < 20; ++step) {
      std::vector<float> gradient(100, 1.f);
      reducer.average(w, gradient.data());
      for (std::size_t i = 0; i < 100; ++i) sum[i] += gradient[i];
    }
    if (comm.rank() == 0)
      std::printf("after 20 steps of gradient 1, element 3 received %.2f; %s\n", sum[3], reducer.method(w).c_str());
    if (std::abs(sum[3] - 14.f) > 0.2f)
      throw std::runtime_error("the memory lost something");  // sent in steps 3 and 13: 4 + 10
  });
  Kokkos::finalize();
}
