// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One run, as each rank sees it: its share of every batch, the exchange, the step of the optimizer.

#include "network.hpp"
#include "options.hpp"
#include "text.hpp"

#include <gradpress/gradpress.hpp>
#include <gradpress/runtime/any_reducer.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace shakespeare {

namespace gp = gradpress;

/// What one run gave. The same on every rank, but for the test, which rank 0 does.
struct outcome {
  double train_loss = 0;              ///< mean over the last tenth of the steps, all ranks
  double test_loss = 0;               ///< of text that was not trained on
  double bytes = 0, dense_bytes = 0;  ///< a step and rank, mean over the ranks
};

namespace detail {

template <class T, class Communicator>
std::vector<T> gather(Communicator& comm, std::span<T const> mine) {
  std::vector<T> all(mine.size() * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)));
  return all;
}

/// Compares bits and not values. Throws on all ranks alike, since all see all.
template <class Communicator>
void check_replicas(Communicator& comm, std::span<float const> values) {
  auto const all = gather(comm, values);
  for (int r = 1; r < comm.size(); ++r)
    if (std::memcmp(all.data(), all.data() + static_cast<std::size_t>(r) * values.size(), values.size_bytes()) != 0)
      throw std::runtime_error("after the run, the parameters of rank " + std::to_string(r) +
                               " differ from those of rank 0");
}

}  // namespace detail

/// Trains from `o.seed` on; `report(step, loss)` is called after each step, with this rank's loss. Matrices travel by
/// the method that the text names, biases dense.
template <class Communicator>
outcome train(Communicator& comm, corpus const& text, options const& o, std::string const& method,
              std::function<void(int, double)> const& report) {
  network model(text.symbols(), o.hidden, o.seed);
  momentum_sgd optimizer(static_cast<float>(o.rate), static_cast<float>(o.momentum));
  gp::any_reducer reducer{gp::serial{}, comm, method, {.seed = o.seed}};
  std::vector<gp::any_reducer<gp::serial>::tensor> handles;
  for (tensor const* t : model.parameters())
    handles.push_back(t->cols == 1 ? reducer.add(t->name, t->rows, 1, "dense")
                                   : reducer.add(t->name, t->rows, t->cols));

  auto const share = o.sequences / static_cast<std::size_t>(comm.size());
  auto const mine = static_cast<std::size_t>(comm.rank()) * share;
  int const late = o.steps - (o.steps + 9) / 10;
  double late_loss = 0;
  for (int step = 1; step <= o.steps; ++step) {
    auto const loss = model.differentiate(text.training_batch(o.seed, step, mine, share, o.length));
    clip(model.gradients(), 1.f);  // before the exchange: what a memory holds is never clipped

    auto const parameters = model.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) reducer.stage(handles[i], parameters[i]->gradient);
    reducer.average();
    optimizer.step(model.values(), model.gradients());

    if (step > late) late_loss += loss / (o.steps - late);
    report(step, loss);
  }

  detail::check_replicas(comm, std::span<float const>(model.values()));
  std::array const own{late_loss, static_cast<double>(reducer.stats().bytes_sent),
                       static_cast<double>(reducer.stats().dense_bytes)};
  auto const all = detail::gather(comm, std::span<double const>(own));
  outcome result;
  for (std::size_t p = 0; p < all.size(); p += own.size()) {
    result.train_loss += all[p] / comm.size();
    result.bytes += all[p + 1] / comm.size() / o.steps;
    result.dense_bytes += all[p + 2] / comm.size() / o.steps;
  }
  if (comm.rank() == 0) result.test_loss = model.loss(text.test_batch(128, o.length));
  return result;
}

}  // namespace shakespeare
