// SPDX-License-Identifier: Apache-2.0
#include "../../examples/shakespeare/network.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

using namespace shakespeare;

namespace {

std::vector<float> numbers(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> all(n);
  for (float& v : all) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1.f;
  return all;
}

// Four characters with a period of seven, long enough for some sequences.
corpus small_text() {
  std::string text;
  for (unsigned i = 0; i < 400; ++i) text += static_cast<char>('a' + i * i % 7);
  return corpus(text);
}

}  // namespace

TEST_CASE("examples::shakespeare: matrix products are right at every edge") {
  for (std::size_t const m : {1u, 2u, 3u, 4u, 7u})
    for (std::size_t const k : {1u, 5u, 16u})
      for (std::size_t const n : {1u, 15u, 16u, 17u, 40u})
        for (bool const transposed : {false, true}) {
          auto const a = numbers(m * k, 1), b = numbers(k * n, 2), before = numbers(m * n, 3);
          matrix_view const left =
              transposed ? matrix_view{a.data(), k, m, m}.transposed() : matrix_view{a.data(), m, k, k};
          packed_matrix right;
          right.pack(transposed ? matrix_view{b.data(), n, k, k}.transposed() : matrix_view{b.data(), k, n, n});
          auto c = before;
          multiply_add(left, right, c.data());
          auto d = before;
          detail::multiply_plain(left, right, d.data());
          CHECK(c == d);
          for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = 0; j < n; ++j) {
              auto want = static_cast<double>(before[i * n + j]);
              for (std::size_t p = 0; p < k; ++p)
                want += static_cast<double>(transposed ? a[p * m + i] : a[i * k + p]) *
                        static_cast<double>(transposed ? b[j * k + p] : b[p * n + j]);
              CHECK(std::abs(static_cast<double>(c[i * n + j]) - want) < 1e-5);
            }
        }
}

TEST_CASE("examples::shakespeare: the gradient is the slope of the loss") {
  auto const text = small_text();
  REQUIRE(text.symbols() == 4);  // squares modulo 7
  network model(text.symbols(), 5, 1);
  auto const values = model.values();
  auto const noise = numbers(values.size(), 4);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += 0.5f * noise[i];  // biases too are not 0
  auto const b = text.training_batch(1, 1, 0, 3, 6);
  model.differentiate(b);
  std::vector<float> const gradient(model.gradients().begin(), model.gradients().end());

  constexpr float h = 0.01f;
  auto const slope = [&](auto const& move) {  // by central differences; move(s) adds s times a direction
    move(h);
    auto const up = model.loss(b);
    move(-2 * h);
    auto const down = model.loss(b);
    move(h);
    return (up - down) / (2 * static_cast<double>(h));
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto const got = slope([&](float s) { values[i] += s; });
    INFO("parameter ", i);
    CHECK(std::abs(got - static_cast<double>(gradient[i])) < 1e-4);
  }
  double squares = 0;
  for (float const g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
  auto const norm = static_cast<float>(std::sqrt(squares));
  CHECK(norm > 0.1f);
  auto const along = slope([&](float s) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += s * gradient[i] / norm;
  });
  CHECK(std::abs(along / static_cast<double>(norm) - 1) < 2e-3);
}

TEST_CASE("examples::shakespeare: parts of a batch have the batch's gradient as their mean") {
  auto const text = small_text();
  network model(text.symbols(), 5, 1);
  model.differentiate(text.training_batch(3, 2, 0, 4, 6));
  std::vector<float> const whole(model.gradients().begin(), model.gradients().end());
  std::vector<float> mean(whole.size());
  for (std::size_t rank = 0; rank < 4; ++rank) {
    model.differentiate(text.training_batch(3, 2, rank, 1, 6));
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += model.gradients()[i] / 4;
  }
  for (std::size_t i = 0; i < mean.size(); ++i) CHECK(std::abs(mean[i] - whole[i]) < 1e-6f);
}

TEST_CASE("examples::shakespeare: a target is the next character, and what tests is not trained on") {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i < 180 ? 'a' + i % 20 : 'u' + i % 5);
  corpus const c(text);
  CHECK(c.symbols() == 25);
  CHECK(c.train_size() == 180);
  auto const train = c.training_batch(1, 1, 0, 50, 9), test = c.test_batch(2, 9);
  for (std::size_t i = 0; i < train.rows(); ++i) CHECK(train.target[i] == (train.input[i] + 1) % 20);
  for (int const symbol : test.input) CHECK(symbol >= 20);
  CHECK_THROWS_WITH(
      static_cast<void>(c.test_batch(1, 20)),
      "the text has 20 characters for sequences of 20 and one more; name a longer text, or fewer characters");
}

TEST_CASE("examples::shakespeare: clip shortens what is too long, and nothing else") {
  std::vector<float> g{3, 4};
  clip(g, 5);
  CHECK(g == std::vector<float>{3, 4});
  clip(g, 1);
  CHECK(std::abs(g[0] - 0.6f) < 1e-6f);
  CHECK(std::abs(g[1] - 0.8f) < 1e-6f);
}
