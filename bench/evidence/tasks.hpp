// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What is trained: the networks of two examples, each behind the same few calls. A batch is the same whatever the
/// number of ranks; each rank takes its share of it.

#include "../../examples/digits/dataset.hpp"
#include "../../examples/digits/network.hpp"
#include "../../examples/shakespeare/network.hpp"
#include "../../examples/shakespeare/text.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace evidence {

/// A parameter's name, shape, gradient and values.
struct slice {
  std::string name;
  std::size_t rows, cols;
  std::span<float> gradient, value;
};

/// 64 -> 256 -> 10 on handwritten digits, 64 images a step.
struct digits_task {
  static constexpr char const* name = "digits";
  static constexpr char const* title = "Digits (two layers, 19,210 parameters)";
  static constexpr int steps = 500, quick_steps = 40, records = 50;
  static constexpr std::array worlds{4, 8};
  static constexpr double guess = 2.303;  ///< loss of a guess among all, nats
  static constexpr bool logarithmic = true;
  static constexpr std::size_t batch = 64;
  static constexpr double rate = 0.2, momentum = 0.5;
  digits::dataset data;

  digits_task() : data(digits::read_samples(DIGITS_DATA)) {}

  class replica {
    digits_task const& task_;
    std::uint64_t seed_;
    digits::network model_;
    std::vector<std::size_t> shard_;
    int epoch_ = 0;

   public:
    replica(digits_task const& task, std::uint64_t seed) : task_(task), seed_(seed), model_(seed) {}
    std::vector<slice> parameters() {
      std::vector<slice> all;
      for (auto* t : model_.parameters()) all.push_back({t->name, t->rows, t->cols, t->gradient, t->value});
      return all;
    }
    double differentiate(int step, int rank, int ranks) {
      auto const share = batch / static_cast<std::size_t>(ranks);
      auto const in_epoch = static_cast<int>(task_.data.train.size() / batch);
      auto const epoch = 1 + (step - 1) / in_epoch;
      if (epoch != epoch_) shard_ = task_.data.shard(rank, ranks, seed_, epoch_ = epoch);
      auto const at = static_cast<std::size_t>((step - 1) % in_epoch) * share;
      return static_cast<double>(model_.differentiate(task_.data.train, std::span(shard_).subspan(at, share)));
    }
    void update() {
      for (auto* t : model_.parameters())
        digits::momentum_sgd{.rate = float(rate), .momentum = float(momentum)}.step(*t);
    }
    std::vector<float> values() {
      std::vector<float> all;
      for (auto const* t : model_.parameters()) all.insert(all.end(), t->value.begin(), t->value.end());
      return all;
    }
    /// Share of the test images that are read right.
    double test(bool) { return model_.accuracy(task_.data.test); }
  };
};

/// A recurrent network on characters, 16 sequences of 32 a step, with momentum or without.
template <bool Momentum>
struct shakespeare_task {
  static constexpr char const* name = Momentum ? "shakespeare" : "shakespeare_plain";
  static constexpr char const* title =
      Momentum ? "Characters (recurrent, 543,425 parameters), momentum 0.9" : "Characters without momentum";
  static constexpr int steps = 200, quick_steps = 5, records = 25;
  static constexpr auto worlds = [] {
    if constexpr (Momentum)
      return std::array{4, 8};
    else
      return std::array{4};
  }();
  static constexpr double guess = 4.174;
  static constexpr bool logarithmic = false;
  static constexpr std::size_t sequences = 16, length = 32, hidden = 384;
  static constexpr double rate = Momentum ? 1 : 4, momentum = Momentum ? 0.9 : 0;
  shakespeare::corpus text;

  shakespeare_task() : text(shakespeare::read_corpus(SHAKESPEARE_DATA)) {}

  class replica {
    shakespeare_task const& task_;
    std::uint64_t seed_;
    shakespeare::network model_;
    shakespeare::momentum_sgd optimizer_{float(rate), float(momentum)};

   public:
    replica(shakespeare_task const& task, std::uint64_t seed)
        : task_(task), seed_(seed), model_(task.text.symbols(), hidden, seed) {}
    std::vector<slice> parameters() {
      std::vector<slice> all;
      for (auto* t : model_.parameters()) all.push_back({t->name, t->rows, t->cols, t->gradient, t->value});
      return all;
    }
    double differentiate(int step, int rank, int ranks) {
      auto const share = sequences / static_cast<std::size_t>(ranks);
      auto const loss = model_.differentiate(
          task_.text.training_batch(seed_, step, static_cast<std::size_t>(rank) * share, share, length));
      shakespeare::clip(model_.gradients(), 1);
      return loss;
    }
    void update() { optimizer_.step(model_.values(), model_.gradients()); }
    std::vector<float> values() { return {model_.values().begin(), model_.values().end()}; }
    /// Mean loss over 8192 characters that were not trained on; fewer where it need not mean much.
    double test(bool quick) { return model_.loss(task_.text.test_batch(quick ? 16 : 256, length)); }
  };
};

}  // namespace evidence
