// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One run, as each rank sees it: the usual loop of data-parallel training, and what it cost.

#include "dataset.hpp"
#include "methods.hpp"
#include "network.hpp"

#include <gradpress/gradpress.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace digits {

struct schedule {
  int epochs = 30;
  std::size_t batch = 16;  ///< samples a rank and step
  momentum_sgd optimizer{};
};

/// What one run gave. The same on every rank.
struct outcome {
  double accuracy = 0, loss = 0;
  double bytes = 0, dense_bytes = 0;  ///< a step and rank, mean over the ranks
  double codec_seconds = 0;           ///< encode and decode of the whole run, mean over the ranks
  double link_seconds = 0;            ///< simulated, of the whole run, the slowest rank
};

/// The replicas differ, which must never happen.
struct replicas_differ : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The link of the table: 1 Gbit/s is 8 ns a byte, and a message takes 50 us to start.
inline constexpr double link_alpha = 50e-6, link_beta = 8e-9;

namespace detail {

template <class T, class Communicator>
std::vector<T> gather(Communicator& comm, std::span<T const> mine) {
  std::vector<T> all(mine.size() * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)));
  return all;
}

/// Compares bits and not values: 0 and -0, or two NaNs, would hide a replica that took another path.
template <class Communicator>
void check_replicas(Communicator& comm, network& model) {
  for (tensor const* t : model.parameters()) {
    auto const all = gather(comm, std::span<float const>(t->value));
    for (int r = 1; r < comm.size(); ++r)
      if (std::memcmp(all.data(), all.data() + static_cast<std::size_t>(r) * t->value.size(), 4 * t->value.size()) != 0)
        throw replicas_differ("after the run, '" + t->name + "' of rank " + std::to_string(r) +
                              " differs from that of rank 0");
  }
}

template <class Communicator>
outcome combine(Communicator& comm, double loss, double accuracy, gp::statistics const& s, double link_seconds) {
  auto const steps = static_cast<double>(std::max<std::uint64_t>(s.steps, 1));
  std::array const mine{loss, static_cast<double>(s.bytes_sent) / steps, static_cast<double>(s.dense_bytes) / steps,
                        s.encode_seconds + s.decode_seconds, link_seconds};
  auto const all = gather(comm, std::span<double const>(mine));
  outcome o{.accuracy = accuracy};
  auto const share = 1.0 / comm.size();
  for (std::size_t at = 0; at < all.size(); at += mine.size()) {
    o.loss += share * all[at];
    o.bytes += share * all[at + 1];
    o.dense_bytes += share * all[at + 2];
    o.codec_seconds += share * all[at + 3];
    o.link_seconds = std::max(o.link_seconds, all[at + 4]);
  }
  return o;
}

}  // namespace detail

/// Trains from `seed` on and returns what all ranks agree on; `report(epoch, loss)` is called after each epoch.
/// Throws `replicas_differ`, on all ranks, unless the parameters of all ranks are equal to the bit at the end.
template <class Communicator>
outcome train(Communicator& comm, dataset const& data, method const& use, schedule const& plan, std::uint64_t seed,
              std::function<void(int, double)> const& report) {
  network model(seed);
  gp::delayed<Communicator> link{comm, link_alpha, link_beta};
  reducer gradients{gp::serial{}, link, {.seed = seed}};

  std::vector<reducer::tensor> handles;
  for (tensor const* t : model.parameters())
    handles.push_back(t->cols == 1 ? gradients.add(t->name, t->rows) : use.add(gradients, t->name, t->rows, t->cols));

  double loss = 0;
  for (int epoch = 1; epoch <= plan.epochs; ++epoch) {
    auto const shard = data.shard(comm.rank(), comm.size(), seed, epoch);
    auto const batches = shard.size() / plan.batch;
    loss = 0;
    for (std::size_t b = 0; b < batches; ++b) {
      loss += model.differentiate(data.train, std::span(shard).subspan(b * plan.batch, plan.batch));

      auto const parameters = model.parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i)
        gradients.stage(handles[i], std::span(parameters[i]->gradient));
      gradients.average();
      for (tensor* t : parameters) plan.optimizer.step(*t);
    }
    loss /= static_cast<double>(batches);
    report(epoch, loss);
  }

  detail::check_replicas(comm, model);
  return detail::combine(comm, loss, model.accuracy(data.test), gradients.stats(), link.simulated_seconds());
}

}  // namespace digits
