// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: one rank, alone.

#include <gradpress/communicate/adapt.hpp>
#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/compile_once.hpp>

namespace gradpress {

/// A world of one: for single-worker runs and for measuring what a codec costs and loses. Sums and maxima are the
/// number itself and cost nothing; the rest is a copy.
struct self_communicator {
  [[nodiscard]] int rank() const noexcept { return 0; }
  [[nodiscard]] int size() const noexcept { return 1; }

  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) const {
    collective::detail::demand(all.size() == mine.size(), *this, "all_gather", collective::detail::wrong_gather);
    collective::detail::copy(all.data(), mine.data(), mine.size());
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                    std::span<std::byte> all) const {
    collective::detail::demand(collective::detail::fits_gather_v(1, 0, mine, sizes, all), *this, "all_gather_v",
                               collective::detail::wrong_gather_v);
    collective::detail::copy(all.data(), mine.data(), mine.size());
  }
  template <class T>
  requires is_wire_scalar<T>
  void all_reduce_sum(std::span<T>) const noexcept {}
  void all_reduce_max(std::span<float>) const noexcept {}
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) const {
    bool const fits = to == from && (to == -1 || (to == 0 && in.size() == out.size()));
    collective::detail::demand(fits, *this, "send_recv", "a lone rank may send to itself what it awaits, or to nobody");
    if (from == 0) collective::detail::copy(in.data(), out.data(), in.size());
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) const {
    collective::detail::demand(in.size() == out.size(), *this, "all_to_all", collective::detail::wrong_transpose);
    collective::detail::copy(in.data(), out.data(), out.size());
  }
};

static_assert(communicator<self_communicator>);

GRADPRESS_INSTANCE(std::unique_ptr<transport> adapt(self_communicator&&));

}  // namespace gradpress
