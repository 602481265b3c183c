// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Where chunks lie that exchanges cut a tensor into, one a rank.

#include <gradpress/concepts/exchange.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace gradpress::detail {

/// How many values a quantizer codes as one, such as 8 signs a byte: chunks are cut between those.
template <class Q>
std::size_t grain_of([[maybe_unused]] Q const& q) {
  if constexpr (requires { q.grain(); }) return q.grain();
  return 1;
}

/// Where chunk p of m values starts, and its length: equal numbers of grains, the last chunks shorter.
[[nodiscard]] constexpr std::pair<std::size_t, std::size_t> chunk_of(std::size_t m, int p, int world,
                                                                     std::size_t grain) noexcept {
  auto const grains = (m + grain - 1) / grain, P = static_cast<std::size_t>(world);
  auto const each = (grains + P - 1) / P * grain, from = std::min(m, static_cast<std::size_t>(p) * each);
  return {from, std::min(m - from, each)};
}

/// Of an exchange that keeps something of them: the elements of n that rank p reduces, from where on and how many.
template <class M>
std::pair<std::size_t, std::size_t> reduced_by([[maybe_unused]] M const& m, [[maybe_unused]] std::size_t n,
                                               [[maybe_unused]] int p, [[maybe_unused]] int world) {
  using X = decltype(M::exchange);
  if constexpr (chunks_tensors<X>)
    return chunk_of(n, p, world, grain_of(m.quantizer));
  else if constexpr (keeps_coefficients<X>)
    return {0, m.exchange.reduces(p) ? n : 0};
  return {0, 0};
}

}  // namespace gradpress::detail
