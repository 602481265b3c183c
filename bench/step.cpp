// SPDX-License-Identifier: Apache-2.0
// Whole steps of the library (compress, decode, commit) by method, in a world of one, against memcpy: what a codec
// costs a worker.   ./dev bench step [--json FILE]

#include "support/harness.hpp"

#include <gradpress/gradpress.hpp>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
template <class Method>
void add_case(harness& h, std::string const& name, array const& g, Method const& method) {
  auto const n = h.n(), cols = static_cast<std::size_t>(n >= 25000000 ? 6256 : 1000), rows = n / cols;
  self_communicator alone;
  reducer r{Kokkos::DefaultHostExecutionSpace{}, alone};
  auto const w = r.add("w", rows, cols, method);
  array work(n);
  std::memcpy(work.data(), g.data(), n * sizeof(float));
  h.add(
      name, 0, 0, [&] { r.average(w, work.data()); },
      [&] {
        for (std::size_t i = 0; i < n; i += 997)
          if (!std::isfinite(work[i])) return false;
        return r.stats().steps == 1;
      });
}
}  // namespace

int main(int argc, char** argv) {
  auto const o =
      parse(argc, argv, "bench step: compress, decode and commit by method, in a world of one, against memcpy");
  Kokkos::initialize();
  bool good = false;
  {
    harness h(o, "step", static_cast<int>(Kokkos::DefaultHostExecutionSpace{}.concurrency()));
    array g(h.n());
    fill_gradient(g, 2);
    add_case(h, "dense", g, compress_with());
    add_case(h, "bf16", g, compress_with(bf16{}));
    add_case(h, "bf16 + EF", g, compress_with(bf16{}, error_feedback{}));
    add_case(h, "top_k .1% + EF", g, top_k_sgd(0.001));
    add_case(h, "top_k 1% + EF", g, top_k_sgd(0.01));
    add_case(h, "gtop_k .1% + EF", g, gtop_k_sgd(0.001));
    add_case(h, "top_k 1% + int8 + EF", g, compress_with(top_k{.density = 0.01}, stochastic_int{}, error_feedback{}));
    add_case(h, "random_block 1/64 + EF", g, compress_with(random_block{}, error_feedback{}));
    add_case(h, "random_k 1% + EF", g, compress_with(random_k{}, error_feedback{}));
    add_case(h, "int8", g, qsgd(8));
    add_case(h, "int4", g, qsgd(4));
    add_case(h, "int4 + EF", g, compress_with(stochastic_int{.bits = 4}, error_feedback{}));
    add_case(h, "sign + EF", g, ef_sign_sgd());
    add_case(h, "ternary", g, tern_grad());
    add_case(h, "PowerSGD r=4", g, power_sgd(4));
    add_case(h, "LQ-SGD r=4", g, lq_sgd(4));
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
