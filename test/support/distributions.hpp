// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Vectors of known distribution, for selectors that estimate thresholds. The same in every run.

#include "lone_rank.hpp"

namespace gradpress::test {

inline double open_uniform(key k, std::uint64_t i) { return static_cast<double>(k.bits(i) >> 11) * 0x1p-53 + 0x1p-54; }
inline floats gaussian(std::size_t n, std::uint64_t seed = 1) {
  floats x(n);
  key const k = key{7}.with(seed);
  constexpr double turn = 6.283185307179586;
  for (std::size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(std::sqrt(-2 * std::log(open_uniform(k, 2 * i))) *
                              std::cos(turn * open_uniform(k, 2 * i + 1)));
  return x;
}
/// |x| is exponential with mean 1.
inline floats laplace(std::size_t n, std::uint64_t seed = 1) {
  floats x(n);
  key const k = key{8}.with(seed);
  for (std::size_t i = 0; i < n; ++i) {
    auto const m = static_cast<float>(-std::log(open_uniform(k, i)));
    x[i] = k.bits(i) % 2 == 0 ? m : -m;
  }
  return x;
}
inline floats one_hot(std::size_t n) {
  floats x(n);
  x[n / 3] = -3;
  return x;
}
inline floats mostly_zero(std::size_t n, std::size_t every) {
  auto const z = gaussian(n);
  floats x(n);
  for (std::size_t i = every / 2; i < n; i += every) x[i] = z[i];
  return x;
}
inline std::size_t nonzeros(floats const& x) {
  return x.size() - static_cast<std::size_t>(std::count(x.begin(), x.end(), 0.f));
}
/// Are `kept` the largest of x, whatever their number?
inline bool are_largest(std::vector<index_t> const& kept, floats const& x) {
  std::vector<bool> in(x.size());
  float smallest = std::numeric_limits<float>::infinity(), largest_left = 0;
  for (auto const i : kept) in[i] = true, smallest = std::min(smallest, std::abs(x[i]));
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!in[i]) largest_left = std::max(largest_left, std::abs(x[i]));
  return largest_left <= smallest;
}

}  // namespace gradpress::test
