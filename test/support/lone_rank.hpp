// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of policies share: a rank without a communicator, its step context, and data that provokes.

#include <gradpress/core/step.hpp>
#include <gradpress/core/types.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace gradpress::test {

using host = Kokkos::DefaultHostExecutionSpace;
using floats = std::vector<float>;

inline constexpr std::size_t law_sizes[] = {0, 1, 31, 32, 33, 1000};
inline constexpr float not_finite[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                                       -std::numeric_limits<float>::infinity()};

/// A step context and the scratch memory behind it.
class lone_rank {
  arena<host> memory_;

 public:
  step<host> ctx;

  explicit lone_rank(int rank = 0, int world = 1) {
    ctx.seed = 11;
    ctx.tensor = 0x7e4507;
    ctx.rank = rank;
    ctx.world = world;
    ctx.memory = &memory_;
  }
  lone_rank(lone_rank const&) = delete;
  lone_rank& operator=(lone_rank const&) = delete;
  /// The operation is over: its scratch is dead.
  void release() { memory_.release(); }
};

inline view<host> over(floats& x) { return view<host>(x.data(), x.size()); }
inline in<host> over(floats const& x) { return in<host>(x.data(), x.size()); }
inline floats copied(in<host> x) { return {x.data(), x.data() + x.extent(0)}; }
inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
/// The same bits, so that zeros of different signs differ and a NaN equals itself.
inline bool identical(floats const& a, floats const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), 4 * a.size()) == 0);
}

/// Heavy-tailed, of both signs, the same in every run.
inline floats heavy_tailed(std::size_t n, std::uint64_t seed = 1) {
  floats x(n);
  key const k = key{99}.with(seed);
  for (std::size_t i = 0; i < n; ++i) {
    auto const u = k.uniform(i) - 0.5f;
    x[i] = 8 * u * u * u;
  }
  return x;
}
inline double squared(floats const& x) {
  double sum = 0;
  for (auto const v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}
inline floats plus(floats const& a, floats const& b) {
  floats sum(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) sum[i] = a[i] + b[i];
  return sum;
}

}  // namespace gradpress::test
