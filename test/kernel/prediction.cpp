// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/prediction.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
using host = Kokkos::DefaultHostExecutionSpace;
constexpr std::size_t sizes[] = {0, 1, 7, 255, 256, 257, 1000, 65536, 140001};

struct scene {
  std::vector<guarded<float>> x;
  kernel::combination_of c;
  scene(std::size_t n, int count) {
    for (int j = 0; j < count; ++j) {
      sample const s(j % 2 == 0 ? data::normal : data::layers, n, static_cast<unsigned>(j) + 3);
      x.emplace_back(std::vector<float>(s.get(), s.get() + n));
    }
    c.count = count;
    for (std::size_t j = 0; j < x.size(); ++j) c.x[j] = x[j].get(), c.factor[j] = 0.3f - 0.17f * static_cast<float>(j);
  }
  double sum(std::size_t i) const {
    double s = 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      double volatile product = static_cast<double>(c.factor[j]) * static_cast<double>(x[j][i]);
      s += product;
    }
    return s;
  }
};
std::vector<float> normal(std::size_t n, unsigned seed) {
  sample const s(data::normal, n, seed);
  return {s.get(), s.get() + n};
}
}  // namespace

TEST_CASE("kernel/prediction: inner products of all pairs, the same whatever the threads") {
  for (auto const n : sizes)
    for (int const count : {1, 2, 9}) {
      CAPTURE(n);
      std::vector<std::vector<float>> x;
      std::vector<float const*> at;
      for (int i = 0; i < count; ++i) x.push_back(normal(n, static_cast<unsigned>(i) + 1));
      for (auto const& v : x) at.push_back(v.data());
      std::vector<kernel::inner_products> partial(kernel::dense_chunks(n));
      auto const all = kernel::dot_all(host{}, at.data(), count, n, partial.data());
      for (int i = 0; i < count; ++i)
        for (int j = 0; j <= i; ++j) {
          double sum = 0, size = 1e-30;
          for (std::size_t e = 0; e < n; ++e) {
            auto const a = static_cast<double>(x[static_cast<std::size_t>(i)][e]),
                       b = static_cast<double>(x[static_cast<std::size_t>(j)][e]);
            sum += a * b, size += std::abs(a * b);
          }
          CHECK(std::abs(all[kernel::pair_at(i, j)] - sum) < 1e-12 * size);
        }
      CHECK(all == kernel::dot_all(gradpress::serial{}, at.data(), count, n, partial.data()));
    }
  for (float const bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto g = normal(1000, 1);
    g[777] = bad;
    float const* at[] = {g.data()};
    kernel::inner_products partial[1];
    CHECK(!std::isfinite(kernel::dot_all(host{}, at, 1, 1000, partial)[0]));
    g[777] = std::numeric_limits<float>::max();
    CHECK(std::isfinite(kernel::dot_all(host{}, at, 1, 1000, partial)[0]));
  }
}

TEST_CASE("kernel/prediction: what is left and what is restored, in double and rounded once") {
  for (auto const n : sizes)
    for (int const count : {0, 1, 3, 8}) {
      CAPTURE(n);
      CAPTURE(count);
      scene const s(n, count);
      guarded<float> const g(normal(n, 50));
      guarded<float> out(n), back(n), alone(n);
      std::vector<double> partial(kernel::dense_chunks(n));
      auto const squared = kernel::residual(host{}, s.c, g.get(), out.get(), n, partial.data());
      CHECK(kernel::restore(host{}, s.c, out.get(), back.get(), n));
      CHECK(kernel::restore(host{}, s.c, nullptr, alone.get(), n));
      double sum = 0;
      bool left = true, restored = true, predicted = true, close = true;
      for (std::size_t i = 0; i < n; ++i) {
        auto const p = s.sum(i);
        left = left && bits(out[i]) == bits(static_cast<float>(static_cast<double>(g[i]) - p));
        restored = restored && bits(back[i]) == bits(static_cast<float>(p + static_cast<double>(out[i])));
        predicted = predicted && bits(alone[i]) == bits(static_cast<float>(p));
        close = close && std::abs(back[i] - g[i]) <= 1.2e-7f * (std::abs(g[i]) + std::abs(out[i]));
        sum += static_cast<double>(out[i]) * static_cast<double>(out[i]);
      }
      CHECK((left && restored && predicted && close));
      CHECK(squared == doctest::Approx(sum).epsilon(1e-12));
      CHECK((out.intact() && back.intact() && alone.intact() && g.intact()));
      CHECK(kernel::restore(host{}, s.c, out.get(), out.get(), n));
      CHECK(out.same(back));
    }
}

TEST_CASE("kernel/prediction: a result that a float cannot hold is noticed") {
  auto x = normal(70000, 1);
  kernel::combination_of c{.count = 1};
  c.x[0] = x.data(), c.factor[0] = 2;
  std::vector<float> out(x.size());
  CHECK(kernel::restore(host{}, c, nullptr, out.data(), x.size()));
  x[69999] = std::numeric_limits<float>::max();
  CHECK(!kernel::restore(host{}, c, nullptr, out.data(), x.size()));
}

TEST_CASE("kernel/prediction: the mean is added in order and divided once") {
  for (auto const n : sizes)
    for (std::size_t const P : {1u, 2u, 3u, 9u}) {
      std::vector<std::vector<float>> x;
      std::vector<float const*> at;
      for (std::size_t p = 0; p < P; ++p) x.push_back(normal(n, static_cast<unsigned>(p) + 1));
      for (auto const& v : x) at.push_back(v.data());
      guarded<float> out(n);
      kernel::mean_of(host{}, at.data(), P, out.get(), n);
      bool same = true;
      for (std::size_t i = 0; i < n; ++i) {
        float sum = x[0][i];
        for (std::size_t p = 1; p < P; ++p) sum += x[p][i];
        same = same && bits(out[i]) == bits(sum / static_cast<float>(P));
      }
      CHECK((same && out.intact()));
    }
}
