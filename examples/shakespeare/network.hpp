// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A recurrent network that guesses the next character: one layer of gated recurrent units, its gradient, the optimizer.
///
/// With x the row of the table for the character read, h the state, s(v) = 1 / (1 + exp(-v)), and products over the H
/// units of the layer element by element:
///
///     [ur uz q] = h U            [xr xz xn] = x + c
///     r = s(xr + ur)             how much of the old state the new candidate sees
///     z = s(xz + uz)             how much of the old state stays
///     n = tanh(xn + r q)         the candidate
///     h' = (1 - z) n + z h       scores of the next character = h' W + b
///
/// K. Cho et al., EMNLP 2014, in the form that gates after the product, so that one product serves all three gates.

#include "matmul.hpp"
#include "text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace shakespeare {

/// A parameter of the network: rows x cols floats, row-major. The name is what a reducer knows it by.
struct tensor {
  std::string name;
  std::size_t rows = 0, cols = 1;
  std::span<float> value, gradient;
};

class network {
  std::size_t symbols_, hidden_;
  std::vector<float> value_, gradient_;
  tensor table, recurrent, gate_bias, output, output_bias;  // x, U, c, W, b above; parts of the two vectors

  // Of one pass, row t * sequences + s; `states` has one block of rows more, the zeros before the first character.
  std::vector<float> states, gates, scores, by_product, by_table, by_state, carried;
  packed_matrix u_, u_transposed, w_, w_transposed, by_product_, by_score_;

 public:
  /// Equal seeds give equal bits: that is how replicas start.
  network(std::size_t symbols, std::size_t hidden, std::uint64_t seed) : symbols_(symbols), hidden_(hidden) {
    table = {"table", symbols, 3 * hidden, {}, {}};
    recurrent = {"recurrent", hidden, 3 * hidden, {}, {}};
    gate_bias = {"gate.bias", 3 * hidden, 1, {}, {}};
    output = {"output", hidden, symbols, {}, {}};
    output_bias = {"output.bias", symbols, 1, {}, {}};
    std::size_t all = 0, at = 0;
    for (tensor const* t : parameters()) all += t->rows * t->cols;
    value_.resize(all);
    gradient_.resize(all);
    for (tensor* t : parameters()) {
      t->value = std::span(value_).subspan(at, t->rows * t->cols);
      t->gradient = std::span(gradient_).subspan(at, t->rows * t->cols);
      at += t->rows * t->cols;
    }
    std::mt19937_64 random(seed);
    auto const bound = 1.f / std::sqrt(static_cast<float>(hidden));
    for (tensor* t : {&table, &recurrent, &output})
      for (float& v : t->value) v = bound * (static_cast<float>(random() >> 40) * 0x1p-23f - 1.f);
  }
  network(network const&) = delete;  // its tensors refer to it
  network& operator=(network const&) = delete;

  [[nodiscard]] std::array<tensor*, 5> parameters() { return {&table, &recurrent, &gate_bias, &output, &output_bias}; }
  [[nodiscard]] std::size_t size() const { return value_.size(); }
  /// All parameters end to end, in that order, and their gradients.
  [[nodiscard]] std::span<float> values() { return value_; }
  [[nodiscard]] std::span<float> gradients() { return gradient_; }

  /// The mean loss over all characters of a batch, in nats: the logarithm of how many it wavers between.
  double loss(batch const& b) {
    forward(b);
    return score(b);
  }

  /// Sets all gradients to those of that loss, and returns it.
  double differentiate(batch const& b) {
    std::fill(gradient_.begin(), gradient_.end(), 0.f);
    forward(b);
    auto const mean = score(b);
    backward(b);
    return mean;
  }

 private:
  static float sigmoid(float v) { return 1.f / (1.f + std::exp(-v)); }
  [[nodiscard]] matrix_view rows_of(std::vector<float> const& m, std::size_t first, std::size_t rows,
                                    std::size_t cols) const {
    return {m.data() + first * cols, rows, cols, cols};
  }
  static matrix_view view(tensor const& t) { return {t.value.data(), t.rows, t.cols, t.cols}; }

  void forward(batch const& b) {
    auto const H = hidden_, B = b.sequences, rows = b.rows();
    states.assign((rows + B) * H, 0.f);
    gates.resize(rows * 4 * H);  // r, z, n, q
    scores.resize(rows * symbols_);
    std::vector<float> product(B * 3 * H);
    u_.pack(view(recurrent));
    for (std::size_t t = 0; t < b.length; ++t) {
      std::fill(product.begin(), product.end(), 0.f);
      multiply_add(rows_of(states, t * B, B, H), u_, product.data());
      for (std::size_t s = 0; s < B; ++s) {
        auto const row = t * B + s;
        float const* const x = &table.value[static_cast<std::size_t>(b.input[row]) * 3 * H];
        float const *const c = gate_bias.value.data(), *const u = &product[s * 3 * H], *const h = &states[row * H];
        float *const g = &gates[row * 4 * H], *const next = &states[(row + B) * H];
        for (std::size_t j = 0; j < H; ++j) {
          auto const r = sigmoid(x[j] + c[j] + u[j]), z = sigmoid(x[H + j] + c[H + j] + u[H + j]);
          auto const q = u[2 * H + j], n = std::tanh(x[2 * H + j] + c[2 * H + j] + r * q);
          next[j] = (1.f - z) * n + z * h[j];
          g[j] = r, g[H + j] = z, g[2 * H + j] = n, g[3 * H + j] = q;
        }
      }
    }
    for (std::size_t row = 0; row < rows; ++row)
      std::copy(output_bias.value.begin(), output_bias.value.end(), &scores[row * symbols_]);
    w_.pack(view(output));
    multiply_add(rows_of(states, B, rows, H), w_, scores.data());
  }

  /// Softmax and cross-entropy; turns the scores into the derivatives of the mean loss by them.
  double score(batch const& b) {
    auto const share = 1.f / static_cast<float>(b.rows());
    double sum = 0;
    for (std::size_t row = 0; row < b.rows(); ++row) {
      std::span const p(&scores[row * symbols_], symbols_);
      auto const right = static_cast<std::size_t>(b.target[row]);
      auto const highest = *std::max_element(p.begin(), p.end()), wanted = p[right];
      float total = 0;
      for (float& v : p) total += v = std::exp(v - highest);
      sum += static_cast<double>(std::log(total) + highest - wanted);
      for (float& v : p) v *= share / total;
      p[right] -= share;
    }
    return sum / static_cast<double>(b.rows());
  }

  /// From the last character to the first: `by_...` is the derivative of the loss by it.
  void backward(batch const& b) {
    auto const H = hidden_, B = b.sequences, rows = b.rows();
    by_product.resize(rows * 3 * H);
    by_table.resize(rows * 3 * H);
    by_state.assign(rows * H, 0.f);
    carried.assign(B * H, 0.f);

    by_score_.pack(rows_of(scores, 0, rows, symbols_));
    multiply_add(rows_of(states, B, rows, H).transposed(), by_score_, output.gradient.data());
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t v = 0; v < symbols_; ++v) output_bias.gradient[v] += scores[row * symbols_ + v];
    w_transposed.pack(view(output).transposed());
    multiply_add(rows_of(scores, 0, rows, symbols_), w_transposed, by_state.data());

    u_transposed.pack(view(recurrent).transposed());
    for (std::size_t t = b.length; t-- > 0;) {
      for (std::size_t s = 0; s < B; ++s) {
        auto const row = t * B + s;
        float const *const g = &gates[row * 4 * H], *const h = &states[row * H], *const out = &by_state[row * H];
        float *const by_u = &by_product[row * 3 * H], *const by_x = &by_table[row * 3 * H], *const to = &carried[s * H];
        for (std::size_t j = 0; j < H; ++j) {
          float const r = g[j], z = g[H + j], n = g[2 * H + j], q = g[3 * H + j];
          float const by_h = out[j] + to[j];
          float const by_n = by_h * (1.f - z) * (1.f - n * n);
          by_x[j] = by_u[j] = by_n * q * r * (1.f - r);
          by_x[H + j] = by_u[H + j] = by_h * (h[j] - n) * z * (1.f - z);
          by_x[2 * H + j] = by_n;
          by_u[2 * H + j] = by_n * r;
          to[j] = by_h * z;
        }
      }
      multiply_add(rows_of(by_product, t * B, B, 3 * H), u_transposed, carried.data());
    }

    by_product_.pack(rows_of(by_product, 0, rows, 3 * H));
    multiply_add(rows_of(states, 0, rows, H).transposed(), by_product_, recurrent.gradient.data());
    for (std::size_t row = 0; row < rows; ++row) {
      float const* const by_x = &by_table[row * 3 * H];
      float* const to = &table.gradient[static_cast<std::size_t>(b.input[row]) * 3 * H];
      for (std::size_t j = 0; j < 3 * H; ++j) to[j] += by_x[j], gate_bias.gradient[j] += by_x[j];
    }
  }
};

/// SGD with momentum on averaged gradients: v = momentum v + g, w = w - rate v.
class momentum_sgd {
  float rate_, momentum_;
  std::vector<float> velocity_;

 public:
  momentum_sgd(float rate, float momentum) : rate_(rate), momentum_(momentum) {}

  void step(std::span<float> values, std::span<float const> gradients) {
    velocity_.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      velocity_[i] = momentum_ * velocity_[i] + gradients[i];
      values[i] -= rate_ * velocity_[i];
    }
  }
};

/// Shortens the gradients to `most` where their norm is more; all ranks do so before the exchange.
inline void clip(std::span<float> gradients, float most) {
  double squares = 0;
  for (float const g : gradients) squares += static_cast<double>(g) * static_cast<double>(g);
  auto const norm = static_cast<float>(std::sqrt(squares));
  if (norm > most)
    for (float& g : gradients) g *= most / norm;
}

}  // namespace shakespeare
