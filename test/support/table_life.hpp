// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What ranks see of a tensor in a few steps with the same gradients in every table, and how numbers are compared.

#include "memories.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace gradpress::test {

inline constexpr int life_steps = 6;
/// Rows that fill neither a block nor a chunk.
inline constexpr shape table_shape{40, 13};
/// Powers of two: a memory that follows them is multiplied without rounding.
inline double rate_at(int s) { return s < 2 ? 0.5 : s < 4 ? 0.125 : 0.25; }

/// Sanitizers slow threads down by a factor of ten, and see with few ranks what they see with many.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int table_worlds[] = {1, 2, 3, 5};
#else
inline constexpr int table_worlds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
#endif

using named_floats = std::map<std::string, floats>;

/// What one rank saw of a tensor: of step s the update, and what was kept before it; last, what was kept in the end.
struct life {
  std::vector<floats> updates;
  std::vector<named_floats> states;
};
/// Rank p's gradient of step s, of all tensors, made once; s = life_steps is of a step that is taken back.
inline floats const& table_gradient(std::size_t p, std::size_t s) {
  static auto const all = [] {
    std::vector<std::vector<floats>> made(std::end(table_worlds)[-1]);
    for (std::size_t rank = 0; rank < made.size(); ++rank)
      for (int step = 0; step <= life_steps; ++step)
        made[rank].push_back(gradient_at(static_cast<int>(rank), step, table_shape.size()));
    return made;
  }();
  return all[p][s];
}

using doubles = std::vector<double>;
inline void add_to(doubles& sum, floats const& x, double factor = 1) {
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] += factor * static_cast<double>(x[i]);
}
template <class Step>
std::string at_step(std::string const& what, Step s) {
  return what + " in step " + std::to_string(s) + "; ";
}
/// "" if a and b are equal to `tolerance`, and where that is rounding, relative to the largest number.
inline std::string compare(doubles const& a, doubles const& b, doubles const& tolerance, std::string const& what,
                           std::size_t s) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= tolerance[i]))
      return at_step(what + ": element " + std::to_string(i) + " is " + std::to_string(a[i]) + " and should be " +
                         std::to_string(b[i]),
                     s);
  return {};
}
inline std::string compare(doubles const& a, doubles const& b, std::string const& what, std::size_t s,
                           double tolerance = 4e-6) {
  double top = 1;
  for (auto const v : b) top = std::max(top, std::abs(v));
  return compare(a, b, doubles(a.size(), tolerance * top), what, s);
}

}  // namespace gradpress::test
