// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A network of two layers, 64 -> 256 -> 10, with its gradient in plain loops, and the optimizer.

#include "dataset.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace digits {

/// A parameter: rows x cols, row-major, and its gradient. The name is what the reducer knows it by.
struct tensor {
  std::string name;
  std::size_t rows = 0, cols = 1;
  std::vector<float> value, gradient, velocity;

  tensor(std::string n, std::size_t r, std::size_t c = 1)
      : name(std::move(n)), rows(r), cols(c), value(r * c), gradient(r * c), velocity(r * c) {}
};

/// ReLU between the layers, softmax and cross-entropy at the end.
class network {
  static constexpr std::size_t hidden = 256, outputs = classes;
  using activations = std::array<float, hidden>;
  using scores = std::array<float, outputs>;

  tensor w1{"layer1.weight", pixels, hidden}, b1{"layer1.bias", hidden};
  tensor w2{"layer2.weight", hidden, outputs}, b2{"layer2.bias", outputs};

 public:
  /// Equal seeds give equal bits: that is how replicas start.
  explicit network(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    auto const fill = [&](tensor& t) {
      float const bound = std::sqrt(6.f / static_cast<float>(t.rows));  // He: keeps the variance through ReLU
      for (float& v : t.value) v = bound * (static_cast<float>(random() >> 40) * 0x1p-23f - 1.f);
    };
    fill(w1);
    fill(w2);
  }

  [[nodiscard]] std::array<tensor*, 4> parameters() { return {&w1, &b1, &w2, &b2}; }

  /// Sets all gradients to those of the mean loss over a mini-batch, and returns that loss.
  float differentiate(std::span<sample const> train, std::span<std::size_t const> batch) {
    for (tensor* t : parameters()) std::fill(t->gradient.begin(), t->gradient.end(), 0.f);
    float const share = 1.f / static_cast<float>(batch.size());
    float loss = 0;
    for (auto const index : batch) loss += share * backward(train[index], share);
    return loss;
  }

  /// The share of samples whose digit gets the highest score.
  [[nodiscard]] double accuracy(std::span<sample const> samples) const {
    std::size_t right = 0;
    for (auto const& s : samples) {
      auto const z = forward_output(forward_hidden(s));
      right += std::max_element(z.begin(), z.end()) - z.begin() == s.label;
    }
    return static_cast<double>(right) / static_cast<double>(samples.size());
  }

 private:
  // The widths are constants so that -O2 vectorises; many pixels and hidden units are 0, and cost nothing.
  template <std::size_t Width>
  static void add_scaled(float factor, float const* __restrict from, float* __restrict to) {
    for (std::size_t j = 0; j < Width; ++j) to[j] += factor * from[j];
  }

  [[nodiscard]] activations forward_hidden(sample const& s) const {
    activations h;
    std::copy(b1.value.begin(), b1.value.end(), h.begin());
    for (std::size_t i = 0; i < pixels; ++i)
      if (s.image[i] != 0.f) add_scaled<hidden>(s.image[i], &w1.value[i * hidden], h.data());
    for (float& v : h) v = std::max(v, 0.f);
    return h;
  }

  [[nodiscard]] scores forward_output(activations const& h) const {
    scores z;
    std::copy(b2.value.begin(), b2.value.end(), z.begin());
    for (std::size_t j = 0; j < hidden; ++j)
      if (h[j] != 0.f) add_scaled<outputs>(h[j], &w2.value[j * outputs], z.data());
    return z;
  }

  /// Adds `share` times the gradient of one sample's loss; returns the loss.
  float backward(sample const& s, float share) {
    auto const h = forward_hidden(s);
    auto p = forward_output(h);
    auto const label = static_cast<std::size_t>(s.label);

    float const highest = *std::max_element(p.begin(), p.end());
    float sum = 0;
    for (float& v : p) sum += v = std::exp(v - highest);
    float const loss = std::log(sum) - std::log(p[label]);

    scores dz;  // of the loss by the scores: softmax minus one-hot
    for (std::size_t c = 0; c < outputs; ++c) dz[c] = share * (p[c] / sum - (c == label ? 1.f : 0.f));
    add_scaled<outputs>(1.f, dz.data(), b2.gradient.data());

    activations dh{};
    for (std::size_t j = 0; j < hidden; ++j) {
      if (h[j] == 0.f) continue;
      add_scaled<outputs>(h[j], dz.data(), &w2.gradient[j * outputs]);
      for (std::size_t c = 0; c < outputs; ++c) dh[j] += w2.value[j * outputs + c] * dz[c];
    }
    add_scaled<hidden>(1.f, dh.data(), b1.gradient.data());
    for (std::size_t i = 0; i < pixels; ++i)
      if (s.image[i] != 0.f) add_scaled<hidden>(s.image[i], dh.data(), &w1.gradient[i * hidden]);
    return loss;
  }
};

/// SGD with momentum on averaged gradients: v = momentum v + g, w = w - rate v.
struct momentum_sgd {
  float rate = 0.2f, momentum = 0.5f;

  void step(tensor& t) const {
    for (std::size_t i = 0; i < t.value.size(); ++i) {
      t.velocity[i] = momentum * t.velocity[i] + t.gradient[i];
      t.value[i] -= rate * t.velocity[i];
    }
  }
};

}  // namespace digits
