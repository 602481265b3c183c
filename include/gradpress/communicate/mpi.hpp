// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: MPI. Opt-in: the program finds MPI and links it.

#include <gradpress/communicate/derived.hpp>

#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gradpress {

/// All operations over a duplicate of the user's communicator, so that our messages never meet the program's own.
///
/// - Setup    construct it on all ranks together (MPI_Comm_dup is collective), after MPI_Init and before MPI_Finalize.
/// - Sums     by MPI_Allreduce for float, double and integers; narrow floats are derived. Bitwise equal results on all
///            ranks are what the common implementations give; the standard recommends and does not demand it.
/// - Sizes    what exceeds `piece` bytes travels in pieces of that size, since MPI counts in int. All ranks use the
///            same.
/// - Errors   MPI's own text in a `communicator_error`. Ranks that wait inside MPI for one that failed cannot be
///            released by us: end the program (MPI_Abort), as MPI programs do.
class mpi_communicator {
  std::shared_ptr<MPI_Comm> comm_;
  std::size_t piece_;
  int rank_ = 0, size_ = 1;
  std::vector<std::size_t> sizes_;
  std::vector<int> counts_, starts_;

 public:
  static constexpr std::size_t largest_piece = std::size_t{1} << 30;

  explicit mpi_communicator(MPI_Comm comm, std::size_t piece = largest_piece) : piece_(piece) {
    int ready = 0;
    MPI_Initialized(&ready);
    if (ready == 0) throw configuration_error("mpi_communicator: call MPI_Init before making one");
    if (comm == MPI_COMM_NULL) throw configuration_error("mpi_communicator: MPI_COMM_NULL has no ranks");
    if (piece < sizeof(double) || piece > largest_piece)
      throw configuration_error("mpi_communicator: pieces have 8 to 2^30 bytes, not " + std::to_string(piece));
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
    check(all.size() == ranks() * mine.size(), "all_gather", collective::detail::wrong_gather);
    if (mine.size() <= piece_)
      return demand(
          MPI_Allgather(mine.data(), count(mine.size()), MPI_BYTE, all.data(), count(mine.size()), MPI_BYTE, *comm_),
          "MPI_Allgather");
    sizes_.assign(ranks(), mine.size());
    broadcast_each(mine, sizes_, all);
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    check(collective::detail::fits_gather_v(ranks(), static_cast<std::size_t>(rank_), mine, sizes, all), "all_gather_v",
          collective::detail::wrong_gather_v);
    if (all.size() > piece_) return broadcast_each(mine, sizes, all);
    counts_.clear();
    starts_.clear();
    std::size_t at = 0;
    for (auto const s : sizes) {
      counts_.push_back(count(s));
      starts_.push_back(count(at));
      at += s;
    }
    demand(MPI_Allgatherv(mine.data(), count(mine.size()), MPI_BYTE, all.data(), counts_.data(), starts_.data(),
                          MPI_BYTE, *comm_),
           "MPI_Allgatherv");
  }
  void all_reduce_sum(std::span<float> x) { reduce(x, MPI_FLOAT, MPI_SUM); }
  void all_reduce_sum(std::span<double> x) { reduce(x, MPI_DOUBLE, MPI_SUM); }
  void all_reduce_sum(std::span<std::int8_t> x) { reduce(x, MPI_INT8_T, MPI_SUM); }
  void all_reduce_sum(std::span<std::int16_t> x) { reduce(x, MPI_INT16_T, MPI_SUM); }
  void all_reduce_sum(std::span<std::int32_t> x) { reduce(x, MPI_INT32_T, MPI_SUM); }
  void all_reduce_max(std::span<float> x) { reduce(x, MPI_FLOAT, MPI_MAX); }

  /// Both ends of a message know its size, so they count the same pieces, whatever the size of the other direction.
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) {
    auto const pieces = [&](std::size_t n) { return std::max<std::size_t>(1, (n + piece_ - 1) / piece_); };
    auto const sends = to < 0 ? 0 : pieces(out.size()), receives = from < 0 ? 0 : pieces(in.size());
    for (std::size_t i = 0; i < std::max(sends, receives); ++i) {
      auto const o = part(out, i * piece_);
      auto const a = part(in, i * piece_);
      demand(MPI_Sendrecv(o.data(), count(o.size()), MPI_BYTE, i < sends ? to : MPI_PROC_NULL, 0, a.data(),
                          count(a.size()), MPI_BYTE, i < receives ? from : MPI_PROC_NULL, 0, *comm_, MPI_STATUS_IGNORE),
             "MPI_Sendrecv");
    }
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) {
    check(out.size() % ranks() == 0 && in.size() == out.size(), "all_to_all", collective::detail::wrong_transpose);
    auto const block = out.size() / ranks();
    if (out.size() <= piece_)
      return demand(MPI_Alltoall(out.data(), count(block), MPI_BYTE, in.data(), count(block), MPI_BYTE, *comm_),
                    "MPI_Alltoall");
    for (int d = 0; d < size_; ++d) {  // large: one partner after the other
      int const to = (rank_ + d) % size_, from = (rank_ - d + size_) % size_;
      send_recv(to, out.subspan(static_cast<std::size_t>(to) * block, block), from,
                in.subspan(static_cast<std::size_t>(from) * block, block));
    }
  }

 private:
  [[nodiscard]] std::size_t ranks() const { return static_cast<std::size_t>(size_); }
  static int count(std::size_t n) { return static_cast<int>(n); }
  template <class Byte>
  [[nodiscard]] std::span<Byte> part(std::span<Byte> s, std::size_t at) const {
    auto const start = std::min(at, s.size());
    return s.subspan(start, std::min(piece_, s.size() - start));
  }
  void check(bool fits, char const* call, char const* what) const {
    collective::detail::demand(fits, *this, call, what);
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
    auto const most = piece_ / sizeof(T);
    for (std::size_t at = 0; at < x.size(); at += most)
      demand(MPI_Allreduce(MPI_IN_PLACE, x.data() + at, count(std::min(most, x.size() - at)), type, op, *comm_),
             "MPI_Allreduce");
  }
  void broadcast_each(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    std::size_t at = 0;
    for (int root = 0; root < size_; ++root) {
      auto const block = all.subspan(at, sizes[static_cast<std::size_t>(root)]);
      if (root == rank_) std::copy(mine.begin(), mine.end(), block.begin());
      for (std::size_t i = 0; i < block.size(); i += piece_)
        demand(MPI_Bcast(block.data() + i, count(part(block, i).size()), MPI_BYTE, root, *comm_), "MPI_Bcast");
      at += block.size();
    }
  }
};

static_assert(communicator<mpi_communicator>);

}  // namespace gradpress
