// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/mpi.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/threads.hpp>
#include <gradpress/gradpress.hpp>

using namespace gradpress;

static_assert(concepts::has_all_gather_v<mpi_communicator> && concepts::has_all_reduce_sum<mpi_communicator, double>);
static_assert(!concepts::has_all_reduce_sum<mpi_communicator, bfloat16>);

TEST_CASE("communicate::mpi gives what the operations promise") {
  mpi_communicator comm{MPI_COMM_WORLD};
  CHECK_NOTHROW(test::check_communicator(comm));
}

TEST_CASE("communicate::mpi: messages larger than a piece arrive whole, from every operation") {
  for (std::size_t piece : {8u, 24u, 100u}) {  // 24: not a divisor of the sizes
    CAPTURE(piece);
    mpi_communicator comm{MPI_COMM_WORLD, piece};
    CHECK_NOTHROW(test::check_communicator(comm));
  }
}

TEST_CASE("communicate::mpi: in pieces, the two directions of send_recv may differ in size") {
  mpi_communicator comm{MPI_COMM_WORLD, 16};
  if (comm.size() == 1) return;
  // Rank r sends 100 r + 1 bytes around the ring: the numbers of pieces differ on every rank.
  auto const size_of_rank = [](int r) { return 100 * static_cast<std::size_t>(r) + 1; };
  int const P = comm.size(), next = (comm.rank() + 1) % P, previous = (comm.rank() + P - 1) % P;
  std::vector<std::byte> const out(size_of_rank(comm.rank()), static_cast<std::byte>(comm.rank() + 1));
  std::vector<std::byte> in(size_of_rank(previous));
  comm.send_recv(next, out, previous, in);
  CHECK(in == std::vector<std::byte>(in.size(), static_cast<std::byte>(previous + 1)));
}

TEST_CASE("communicate::mpi refuses what cannot be, and says what MPI says") {
  CHECK_THROWS_AS(mpi_communicator{MPI_COMM_NULL}, configuration_error);
  CHECK_THROWS_AS((mpi_communicator{MPI_COMM_WORLD, 7}), configuration_error);
  mpi_communicator comm{MPI_COMM_WORLD};
  std::vector<std::byte> two(2), odd(2 * static_cast<std::size_t>(comm.size()) + 1);
  CHECK_THROWS_AS(comm.all_gather(two, odd), communicator_error);
  std::string what;
  try {
    comm.send_recv(comm.size(), two, -1, two);
  } catch (communicator_error const& e) {
    what = e.what();
  }
  CHECK(what.find("MPI_Sendrecv: ") == 0);
  CHECK(what.size() > 20);
  CHECK_NOTHROW(test::check_communicator(comm));
}

namespace {
/// Three steps of several methods; the updates.
template <class C>
std::vector<float> train(C& comm) {
  reducer r{gradpress::serial{}, comm, {.seed = 3}};
  auto const a = r.add("a", 40, 25, gtop_k_sgd(0.05)), b = r.add("b", 40, 25, power_sgd(2)),
             c = r.add("c", 1000, 1, compress_with(threshold{.tau = 0.2}, error_feedback{}));
  auto const d = r.add("d", 1000, 1, tern_grad()), e = r.add("e", 1000, 1, compress_with(bf16{}, error_feedback{}));
  std::vector<float> all;
  for (int s = 0; s < 3; ++s) {
    std::vector<std::vector<float>> g;
    for (int t = 0; t < 5; ++t) g.push_back(test::numbers<float>(comm.rank() + 10 * s + 100 * t, 1000));
    r.stage(a, std::span(g[0])), r.stage(b, std::span(g[1])), r.stage(c, std::span(g[2])), r.stage(d, std::span(g[3])),
        r.stage(e, std::span(g[4]));
    r.average();
    for (auto const& v : g) all.insert(all.end(), v.begin(), v.end());
  }
  return all;
}
}  // namespace

TEST_CASE(
    "communicate::mpi trains like in-process ranks: replicas equal, and bit for bit where nothing is summed by MPI") {
  mpi_communicator comm{MPI_COMM_WORLD};
  auto const mine = train(comm);
  std::vector<float> all(mine.size() * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  for (int p = 0; p < comm.size(); ++p)
    CHECK(std::memcmp(all.data() + static_cast<std::size_t>(p) * mine.size(), mine.data(), 4 * mine.size()) == 0);
  std::vector<float> threads;
  run_ranks(comm.size(), [&](thread_communicator& t) {
    auto const updates = train(t);
    if (t.rank() == 0) threads = updates;
  });
  for (std::size_t i = 0; i < mine.size(); ++i) {
    bool const summed_by_mpi = i % 5000 >= 1000 && i % 5000 < 2000;  // the low-rank factors
    if (summed_by_mpi ? std::abs(mine[i] - threads[i]) > 1e-4f : mine[i] != threads[i])
      FAIL("element " << i << ": " << mine[i] << " by MPI, " << threads[i] << " by threads");
  }
}

TEST_CASE("communicate::mpi: ranks that differ get one error, and the world goes on") {
  mpi_communicator comm{MPI_COMM_WORLD};
  if (comm.size() == 1) return;
  reducer r{gradpress::serial{}, comm, {.seed = static_cast<std::uint64_t>(comm.rank())}};
  auto const t = r.add("w", 10);
  std::vector<float> g(10, 1.f);
  CHECK_THROWS_AS(r.average(t, std::span(g)), configuration_error);
  CHECK(g == std::vector<float>(10, 1.f));
  CHECK_NOTHROW(test::check_communicator(comm));
}
