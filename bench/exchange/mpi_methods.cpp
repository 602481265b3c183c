// SPDX-License-Identifier: Apache-2.0
// Whole exchanges between processes: each method's step right after a dense one, the ratio of the two.
// bench/exchange.py runs it over links of a chosen speed.   mpirun -n 4 bench.exchange.mpi_methods [--json FILE]

#include "support/harness.hpp"

#include <gradpress/communicate/mpi.hpp>
#include <gradpress/gradpress.hpp>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
using exec_space = Kokkos::DefaultHostExecutionSpace;

struct row {
  std::string name;
  double ratio[3], ms, dense_ms, encode_ms, exchange_ms, decode_ms;
  std::uint64_t bytes;
  bool checked;
  std::string choice;
};

std::size_t columns(std::size_t n) { return n >= 25000000 ? 6256 : 1000; }

/// One tensor of n elements, or as many as fill its rows, averaged by a method.
struct bench_of_one {
  mpi_communicator& comm;
  std::size_t n;
  reducer<exec_space> average;
  typename reducer<exec_space>::tensor w;
  array gradient, work;

  template <class Method>
  bench_of_one(mpi_communicator& c, std::size_t size, Method const& method)
      : comm(c), n(size / columns(size) * columns(size)), average(exec_space{}, c), gradient(n), work(n) {
    w = average.add("w", n / columns(n), columns(n), method);
    fill_gradient(gradient, 100 + static_cast<std::uint64_t>(comm.rank()));
  }
  /// Seconds of one step, from when all ranks are ready until all are done.
  double step() {
    std::memcpy(work.data(), gradient.data(), n * sizeof(float));
    MPI_Barrier(MPI_COMM_WORLD);
    auto const start = now();
    average.average(w, work.data());
    MPI_Barrier(MPI_COMM_WORLD);
    return now() - start;
  }
  /// All ranks hold the same finite numbers, and not all of them zeros.
  bool right() {
    digest d;
    double size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      d.add(std::uint64_t{std::bit_cast<std::uint32_t>(work[i])});
      size += std::fabs(static_cast<double>(work[i]));
    }
    std::uint64_t const mine = d.value();
    std::vector<std::uint64_t> all(static_cast<std::size_t>(comm.size()));
    comm.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
    bool const same = std::all_of(all.begin(), all.end(), [&](auto v) { return v == mine; });
    return same && std::isfinite(size) && size > 0;
  }
};

template <class Method>
void measure(std::vector<row>& rows, options const& o, mpi_communicator& comm, bench_of_one& dense,
             std::string const& name, Method const& method) {
  if (name.find(o.only) == std::string::npos) return;
  bench_of_one b(comm, dense.n, method);
  for (int i = 0; i < 5; ++i) {  // memory is met first; then `automatic` weighs, and moves once
    b.step();
    if (b.average.choice(b.w).empty()) break;
  }
  bool const right = b.right();
  b.average.reset_statistics();
  std::vector<double> ratio, seconds, dense_seconds;
  for (int i = 0; i < o.repetitions; ++i) {
    dense_seconds.push_back(dense.step());
    seconds.push_back(b.step());
    ratio.push_back(dense_seconds.back() / seconds.back());
  }
  auto const& s = b.average.stats();
  auto const each = 1e3 / static_cast<double>(s.steps);
  rows.push_back({name,
                  {quantile(ratio, 0.25), quantile(ratio, 0.5), quantile(ratio, 0.75)},
                  quantile(seconds, 0.5) * 1e3,
                  quantile(dense_seconds, 0.5) * 1e3,
                  s.encode_seconds * each,
                  s.exchange_seconds * each,
                  s.decode_seconds * each,
                  s.bytes_sent / s.steps,
                  right,
                  b.average.choice(b.w)});
  if (comm.rank() > 0) return;
  auto const& r = rows.back();
  std::printf("%-26s %10.1f kB %9.1f ms (codec %8.1f, exchange %8.1f)  dense %8.1f ms  %6.2f x [%.2f .. %.2f]  %s\n",
              name.c_str(), static_cast<double>(r.bytes) * 1e-3, r.ms, r.encode_ms + r.decode_ms, r.exchange_ms,
              r.dense_ms, r.ratio[1], r.ratio[0], r.ratio[2], right ? "checked" : "WRONG ANSWER");
  if (!r.choice.empty()) std::printf("    %s\n", r.choice.c_str());
  std::fflush(stdout);
}

void write_json(std::string const& file, std::vector<row> const& rows, int ranks, std::size_t n) {
  std::ofstream json(file, std::ios::app);
  for (auto const& r : rows)
    json << "{\"bench\": \"exchange\", \"name\": \"" << r.name << "\", \"n\": " << n
         << ", \"threads\": 1, \"ranks\": " << ranks << ", \"times_dense\": {\"q1\": " << r.ratio[0]
         << ", \"median\": " << r.ratio[1] << ", \"q3\": " << r.ratio[2] << "}, \"ms\": " << r.ms
         << ", \"dense_ms\": " << r.dense_ms << ", \"encode_ms\": " << r.encode_ms
         << ", \"exchange_ms\": " << r.exchange_ms << ", \"decode_ms\": " << r.decode_ms << ", \"bytes\": " << r.bytes
         << ", \"choice\": \"" << r.choice << "\", \"checked\": " << (r.checked ? "true" : "false") << "}\n";
}
}  // namespace

int main(int argc, char** argv) {
  auto const o = parse(argc, argv, "bench exchange: steps between MPI processes, each method against dense");
  MPI_Init(&argc, &argv);
  Kokkos::initialize();
  bool good = true;
  {
    mpi_communicator comm{MPI_COMM_WORLD};
    bench_of_one dense(comm, o.n, compress_with());
    dense.step();
    good = dense.right();
    std::vector<row> rows;
    auto const add = [&](char const* name, auto const& method) { measure(rows, o, comm, dense, name, method); };
    add("dense", compress_with());
    add("bf16", compress_with(bf16{}));
    add("top_k .1% + EF", top_k_sgd(0.001));
    add("top_k 1% + EF", top_k_sgd(0.01));
    add("gtop_k .1% + EF", gtop_k_sgd(0.001));
    auto const choosing = [](double density) {
      return compress_with(top_k{.density = density}, error_feedback{}, automatic{});
    };
    add("automatic: top_k .1% + EF", choosing(0.001));
    add("automatic: top_k 1% + EF", choosing(0.01));
    add("automatic: top_k 10% + EF", choosing(0.1));
    add("doubling: top_k 1% + EF", compress_with(top_k{.density = 0.01}, error_feedback{}, recursive_doubling{}));
    add("split: top_k 1% + EF", compress_with(top_k{.density = 0.01}, error_feedback{}, split_all_gather{}));
    add("random_block 1/64 + EF", compress_with(random_block{}, error_feedback{}));
    add("int4", qsgd(4));
    add("int4, scatter_reduce", compress_with(stochastic_int{.bits = 4}, scatter_reduce{}));
    add("sign + EF", ef_sign_sgd());
    add("PowerSGD r=4", power_sgd(4));
    add("LQ-SGD r=4", lq_sgd(4));
    for (auto const& r : rows) good &= r.checked;
    if (comm.rank() == 0 && !o.json.empty()) write_json(o.json, rows, comm.size(), o.n);
  }
  Kokkos::finalize();
  MPI_Finalize();
  return good ? 0 : 1;
}
