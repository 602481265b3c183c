// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What each rank sends and receives in one step of one tensor: over threads, by a communicator that offers everything.

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include <algorithm>
#include <vector>

namespace gradpress::test {

struct traffic {
  std::uint64_t received = 0, sent = 0, messages = 0;  ///< of the rank with most
  double mean_received = 0;                            ///< over the ranks
};

/// Bytes of gradients in the last of `steps` steps, or the mean of the last `counted`, at the rank that has most of them.
/// gradient(rank, step) is what a rank hands in.
template <class Method, class Gradient>
traffic traffic_of(int P, std::size_t n, Method const& method, int steps, Gradient const& gradient, int counted = 1) {
  std::vector<traffic> all(static_cast<std::size_t>(P));
  run_ranks(P, [&](thread_communicator& c) {
    counting<thread_communicator&> comm{c};
    reducer r{serial{}, comm};
    auto const w = r.add("w", n, 1, method);
    for (int s = 0; s < steps; ++s) {
      auto g = gradient(c.rank(), s);
      if (s <= steps - counted) {
        comm.reset();
        r.reset_statistics();
      }
      r.average(w, std::span<float>(g));
    }
    auto const control = r.stats().control_bytes, of = static_cast<std::uint64_t>(counted);
    all[static_cast<std::size_t>(c.rank())] = {(comm.received() - control * static_cast<std::uint64_t>(P - 1)) / of,
                                               (comm.bytes() - control) / of, r.stats().messages / of, 0};
  });
  traffic most;
  for (auto const& t : all) {
    most.received = std::max(most.received, t.received);
    most.sent = std::max(most.sent, t.sent);
    most.messages = std::max(most.messages, t.messages);
    most.mean_received += static_cast<double>(t.received) / P;
  }
  return most;
}

}  // namespace gradpress::test
