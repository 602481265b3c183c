// SPDX-License-Identifier: Apache-2.0
// One training loop under several optimizers: logistic regression on made-up data, four ranks whose data differ.
// Every method sees the same samples and starts from zero; the table says what it lost and what it sent.
// Or one of your own, as text:   ./optimizers --optimizer "def(0.2, lambda=0.5) | top_k(0.05) | error_feedback"

#include <gradpress/gradpress.hpp>
#include <gradpress/runtime/any_driver.hpp>

#include <cmath>
#include <cstdio>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gp = gradpress;

namespace {
constexpr int ranks = 4;
constexpr std::size_t features = 512, samples = 256, batch = 32;  // samples: of each rank
constexpr std::uint64_t steps = 400;

/// Sample j of rank r: features around a mean of the rank's own, and a label that a hidden model gives with some noise.
struct sample {
  std::vector<float> x;
  float label;  // 0 or 1
  sample(int r, std::size_t j) : x(features), label(0) {
    gp::key const hidden{1}, shift = gp::key{2}.with(static_cast<std::uint64_t>(r)), draw = shift.with(j + 1);
    float score = 0;
    for (std::size_t i = 0; i < features; ++i) {
      x[i] = draw.uniform(i) - 0.5f + 0.5f * (shift.uniform(i) - 0.5f);
      score += x[i] * (hidden.uniform(i) - 0.5f);
    }
    label = score + 0.5f * (draw.uniform(features) - 0.5f) > 0 ? 1.f : 0.f;
  }
};
std::vector<sample> data_of(int r) {
  std::vector<sample> all;
  for (std::size_t j = 0; j < samples; ++j) all.emplace_back(r, j);
  return all;
}

struct model {
  std::vector<float> weights = std::vector<float>(features), bias = {0};
  std::vector<float> weights_gradient = weights, bias_gradient = bias;

  [[nodiscard]] float score(sample const& s) const {
    float z = bias[0];
    for (std::size_t i = 0; i < features; ++i) z += weights[i] * s.x[i];
    return z;
  }
  /// The gradient of the mean loss over mini-batch `number` of this rank's data.
  void differentiate(std::vector<sample> const& data, std::uint64_t number) {
    std::fill(weights_gradient.begin(), weights_gradient.end(), 0.f);
    bias_gradient[0] = 0;
    for (std::size_t j = 0; j < batch; ++j) {
      auto const& s = data[(static_cast<std::size_t>(number) * batch + j) % samples];
      float const slope = (1 / (1 + std::exp(-score(s))) - s.label) / batch;
      for (std::size_t i = 0; i < features; ++i) weights_gradient[i] += slope * s.x[i];
      bias_gradient[0] += slope;
    }
  }
  [[nodiscard]] double loss(std::vector<sample> const& data) const {
    double sum = 0;
    for (auto const& s : data) sum += std::log1p(std::exp(s.label > 0.5f ? -score(s) : score(s)));
    return sum / static_cast<double>(data.size());
  }
};

struct outcome {
  double loss = 0, bytes = 0;
};

/// The loop. It knows nothing of the method.
template <class Driver, class Dense>
outcome train(gp::reducer<gp::serial> const& reducer, Driver driver, Dense const& uncompressed) {
  auto const data = data_of(reducer.rank());
  model m;
  auto const weights = driver.add("weights", {features}, std::span(m.weights));
  auto const bias = driver.add("bias", {1}, std::span(m.bias), uncompressed);
  while (driver.step() < steps) {
    auto const ask = driver.next();  // m now holds the point
    m.differentiate(data, ask.sample);
    driver.stage(weights, std::span(m.weights_gradient));
    driver.stage(bias, std::span(m.bias_gradient));
    driver.take();
  }
  driver.model();  // m now holds the model
  return {m.loss(data), static_cast<double>(reducer.stats().bytes_sent) / static_cast<double>(steps)};
}

/// Runs what trains one rank on each, and prints a line of the table.
template <class Train>
double tabulate(char const* text, Train const& train_one) {
  outcome all;
  std::mutex meeting;
  gp::run_ranks(ranks, [&](gp::thread_communicator& comm) {
    auto const mine = train_one(comm);
    std::lock_guard const lock(meeting);
    all.loss += mine.loss / ranks;
    all.bytes += mine.bytes / ranks;
  });
  std::printf("%-34s %8.4f %12.0f\n", text, all.loss, all.bytes);
  return all.loss;
}
template <class Method, class... Compressor>
double report(char const* text, Method const& method, Compressor const&... compressors) {
  return tabulate(text, [&](gp::thread_communicator& comm) {
    gp::reducer reducer{gp::serial{}, comm, {.seed = 7}};
    return train(reducer, gp::train_with(reducer, method, compressors...), gp::uncompressed);
  });
}

/// What a text may name here; without it, all that the library has a text for, at several times the compile time.
using known =
    gp::catalogue<gp::composition_of<gp::random_block, gp::error_feedback>,
                  gp::composition_of<gp::top_k, gp::error_feedback>,
                  gp::composition_of<gp::top_k, gp::momentum_correction>,
                  gp::composition_of<gp::sign_bits, gp::majority_vote>, gp::composition_of<gp::stochastic_int>>;
bool report_text(char const* text) {
  try {
    tabulate(text, [&](gp::thread_communicator& comm) {
      gp::any_reducer<gp::serial, known> reducer{gp::serial{}, comm, "dense", {.seed = 7}};
      return train(reducer, gp::any_driver{reducer, text}, "dense");
    });
    return true;
  } catch (gp::configuration_error const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return false;
  }
}
}  // namespace

int main(int argc, char** argv) {
  Kokkos::initialize();
  bool good = true;
  std::printf("%-34s %8s %12s\n", "method", "loss", "bytes a step");
  if (argc == 3 && std::string_view(argv[1]) == "--optimizer") {
    good = report_text(argv[2]);
  } else {
    auto const block = gp::compress_with(gp::random_block{.density = 1. / 32}, gp::error_feedback{});
    auto const denser = gp::compress_with(gp::random_block{.density = 1. / 4}, gp::error_feedback{});
    auto const unbiased = gp::compress_with(gp::stochastic_int{.bits = 2, .block = 64});
    auto const dense = report("sgd, dense", gp::sgd{.learning_rate = 0.2}, gp::uncompressed);
    report("sgd, random block 1/32 + EF", gp::sgd{.learning_rate = 0.2}, block);  // momentum multiplies what was kept
    auto const close = [&](double loss) { good &= loss < 2 * dense; };
    close(report("def, random block 1/32", gp::def{.learning_rate = 0.2}, block));
    close(report("def_a, random block 1/32", gp::def_a{.learning_rate = 0.2}, block));
    close(report("saef, random block 1/32", gp::saef{.learning_rate = 0.2, .average_every = 50}, block));
    close(report("cser, blocks 1/32 and 1/4 each 8", gp::cser{.learning_rate = 0.2, .reset_every = 8}, block, denser));
    report("marina, 2 bits", gp::marina{.learning_rate = 2, .probability = 0.1}, unbiased);  // has no momentum
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
