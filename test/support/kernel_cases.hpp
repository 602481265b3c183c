// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of the sparse kernels share: sizes, data that provokes, every path of the machine.

#include <gradpress/core/types.hpp>
#include <gradpress/kernel/isa.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace gradpress::test {

/// Runs f once with each path that this machine has; the path is put back afterwards.
template <class F>
void for_each_isa(F const& f) {
  auto const before = kernel::detail::isa_slot().load();
  for (auto wanted : {kernel::isa::portable, kernel::isa::avx2, kernel::isa::avx512}) {
    if (kernel::force_isa(wanted) != wanted) {
      MESSAGE("skipped: this machine lacks path ", static_cast<int>(wanted));
      continue;
    }
    CAPTURE(static_cast<int>(wanted));
    f();
  }
  kernel::force_isa(before);
}

inline std::uint32_t bits(float v) { return std::bit_cast<std::uint32_t>(v); }
inline std::uint32_t size_of(float v) { return bits(v) & 0x7fffffffu; }
inline bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) { return bits(x) == bits(y); });
}

enum class data { normal, equal, zero, rising, falling, few_values, one_hot, mostly_zero, layers, denormal, blocks };
inline constexpr data all_data[] = {data::normal,  data::equal,      data::zero,    data::rising,
                                    data::falling, data::few_values, data::one_hot, data::mostly_zero,
                                    data::layers,  data::denormal,   data::blocks};

/// n values of a kind; the first stands at an address that is a multiple of 4 bytes and no more.
class sample {
  std::vector<float> memory_;

 public:
  sample(data kind, std::size_t n, unsigned seed = 1) : memory_(n + 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < n; ++i) {
      auto const z = normal(random);
      auto const at = static_cast<float>(i);
      auto const one_hot = i == n / 2 ? -3.0f : 0.0f;
      switch (kind) {
        case data::normal:
          (*this)[i] = z;
          break;
        case data::equal:
          (*this)[i] = i % 2 == 0 ? 1.5f : -1.5f;
          break;
        case data::zero:
          (*this)[i] = i % 2 == 0 ? 0.0f : -0.0f;
          break;
        case data::rising:
          (*this)[i] = at;
          break;
        case data::falling:
          (*this)[i] = -static_cast<float>(n) + at;
          break;
        case data::few_values:
          (*this)[i] = static_cast<float>(random() % 5) - 2.0f;
          break;
        case data::one_hot:
          (*this)[i] = one_hot;
          break;
        case data::mostly_zero:
          (*this)[i] = i % 331 == 7 ? z : 0.0f;
          break;
        case data::layers:
          (*this)[i] = i / 3000 % 7 == 3 ? 1000 * z : 1e-3f * z;
          break;
        case data::denormal:
          (*this)[i] = 1e-40f * z;
          break;
        case data::blocks:
          (*this)[i] = i / 64 % 97 == 5 ? z : 1e-9f * z;
          break;
      }
    }
  }
  float& operator[](std::size_t i) { return memory_[i + 1]; }
  float operator[](std::size_t i) const { return memory_[i + 1]; }
  float* get() { return memory_.data() + 1; }
  float const* get() const { return memory_.data() + 1; }
};
/// The first n values of a sample, anywhere.
inline std::vector<float> values_of(sample const& s, std::size_t n) { return {s.get(), s.get() + n}; }

/// The k largest by (|x| descending, index ascending), as ascending indices: what top-k means, done plainly.
inline std::vector<index_t> largest(float const* x, std::size_t n, std::size_t k) {
  std::vector<index_t> order(n);
  std::iota(order.begin(), order.end(), index_t{0});
  auto const middle = order.begin() + static_cast<std::ptrdiff_t>(k);
  if (k < n)
    std::nth_element(order.begin(), middle, order.end(), [&](index_t a, index_t b) {
      return size_of(x[a]) != size_of(x[b]) ? size_of(x[a]) > size_of(x[b]) : a < b;
    });
  std::sort(order.begin(), middle);
  order.resize(k);
  return order;
}

}  // namespace gradpress::test
