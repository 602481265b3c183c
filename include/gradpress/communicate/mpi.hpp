// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: MPI. Opt-in: the program finds MPI and links it.

#include <gradpress/concepts/communicator.hpp>
#include <gradpress/core/error.hpp>

#include <mpi.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace gradpress {

/// All operations over a duplicate of the user's communicator, so that our messages never meet the program's own.
///
/// - Setup    construct it on all ranks together (MPI_Comm_dup is collective), after MPI_Init and before MPI_Finalize.
/// - Sums     by MPI_Allreduce for float, double and integers; narrow floats are derived. Bitwise equal results on all ranks
///            are what the common implementations give; the standard recommends and does not demand it.
/// - Sizes    counts beyond 2^31 - 1 travel in pieces.
/// - Errors   MPI's own text in a `communicator_error`. Ranks that wait inside MPI for one that failed cannot be released
///            by us: end the program (MPI_Abort), as MPI programs do.
class mpi_communicator {
  std::shared_ptr<MPI_Comm> comm_;
  int rank_ = 0, size_ = 1;

  static constexpr std::size_t piece = std::size_t{1} << 30;

 public:
  explicit mpi_communicator(MPI_Comm comm) {
    MPI_Comm mine = MPI_COMM_NULL;
    demand(MPI_Comm_dup(comm, &mine), "MPI_Comm_dup");
    comm_ = std::shared_ptr<MPI_Comm>(new MPI_Comm(mine), [](MPI_Comm* c) {
      int finished = 0;
      MPI_Finalized(&finished);
      if (finished == 0) MPI_Comm_free(c);
      delete c;
    });
    MPI_Comm_set_errhandler(mine, MPI_ERRORS_RETURN);
    MPI_Comm_rank(mine, &rank_);
    MPI_Comm_size(mine, &size_);
  }
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }

  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    if (mine.size() <= piece)
      return demand(MPI_Allgather(mine.data(), count(mine.size()), MPI_BYTE, all.data(), count(mine.size()), MPI_BYTE, *comm_), "MPI_Allgather");
    sizes_.assign(static_cast<std::size_t>(size_), mine.size());
    all_gather_v(mine, sizes_, all);
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    std::size_t total = 0;
    for (auto const s : sizes) total += s;
    if (total > piece) return broadcast_each(mine, sizes, all);
    counts_.clear();
    starts_.clear();
    std::size_t at = 0;
    for (auto const s : sizes) {
      counts_.push_back(count(s));
      starts_.push_back(count(at));
      at += s;
    }
    demand(MPI_Allgatherv(mine.data(), count(mine.size()), MPI_BYTE, all.data(), counts_.data(), starts_.data(), MPI_BYTE, *comm_), "MPI_Allgatherv");
  }
  void all_reduce_sum(std::span<float> x) { reduce(x, MPI_FLOAT, MPI_SUM); }
  void all_reduce_sum(std::span<double> x) { reduce(x, MPI_DOUBLE, MPI_SUM); }
  void all_reduce_sum(std::span<std::int8_t> x) { reduce(x, MPI_INT8_T, MPI_SUM); }
  void all_reduce_sum(std::span<std::int16_t> x) { reduce(x, MPI_INT16_T, MPI_SUM); }
  void all_reduce_sum(std::span<std::int32_t> x) { reduce(x, MPI_INT32_T, MPI_SUM); }
  void all_reduce_max(std::span<float> x) { reduce(x, MPI_FLOAT, MPI_MAX); }

  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) {
    auto const most = std::max(to < 0 ? 0 : out.size(), from < 0 ? 0 : in.size());
    for (std::size_t at = 0; at == 0 || at < most; at += piece) {
      auto const o = part(out, at), i = part(in, at);
      demand(MPI_Sendrecv(out.data() + std::min(at, out.size()), o, MPI_BYTE, to < 0 ? MPI_PROC_NULL : to, 0, in.data() + std::min(at, in.size()), i, MPI_BYTE,
                          from < 0 ? MPI_PROC_NULL : from, 0, *comm_, MPI_STATUS_IGNORE),
             "MPI_Sendrecv");
    }
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) {
    auto const P = static_cast<std::size_t>(size_), block = out.size() / P;
    if (out.size() <= piece) return demand(MPI_Alltoall(out.data(), count(block), MPI_BYTE, in.data(), count(block), MPI_BYTE, *comm_), "MPI_Alltoall");
    for (int d = 0; d < size_; ++d) {  // large: one partner after the other
      int const to = (rank_ + d) % size_, from = (rank_ - d + size_) % size_;
      send_recv(to, out.subspan(static_cast<std::size_t>(to) * block, block), from, in.subspan(static_cast<std::size_t>(from) * block, block));
    }
  }

 private:
  std::vector<std::size_t> sizes_;
  std::vector<int> counts_, starts_;

  static int count(std::size_t n) { return static_cast<int>(n); }
  template <class Span>
  static int part(Span const& s, std::size_t at) {
    return count(at >= s.size() ? 0 : std::min(piece, s.size() - at));
  }
  static void demand(int code, char const* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw communicator_error(std::string(call) + ": " + std::string(text, static_cast<std::size_t>(length)));
  }
  template <class T>
  void reduce(std::span<T> x, MPI_Datatype type, MPI_Op op) {
    for (std::size_t at = 0; at < x.size(); at += piece / sizeof(T)) {
      auto const n = std::min(piece / sizeof(T), x.size() - at);
      demand(MPI_Allreduce(MPI_IN_PLACE, x.data() + at, count(n), type, op, *comm_), "MPI_Allreduce");
    }
  }
  void broadcast_each(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    std::size_t at = 0;
    for (int root = 0; root < size_; ++root) {
      auto const block = all.subspan(at, sizes[static_cast<std::size_t>(root)]);
      if (root == rank_) std::copy(mine.begin(), mine.end(), block.begin());
      for (std::size_t i = 0; i < block.size(); i += piece) demand(MPI_Bcast(block.data() + i, part(block, i), MPI_BYTE, root, *comm_), "MPI_Bcast");
      at += block.size();
    }
  }
};

static_assert(communicator<mpi_communicator>);

}  // namespace gradpress
