// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The methods to compare. Each has a type of its own; what they have in common is that a reducer can add a tensor.

#include <gradpress/gradpress.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace digits {

namespace gp = gradpress;

/// Host threads of one process may all use Serial; it is one rank's execution space, not the number of ranks.
using reducer = gp::reducer<gp::serial>;

struct method {
  std::string key;    ///< for --methods
  std::string label;  ///< for people
  std::function<reducer::tensor(reducer&, std::string const& name, std::size_t rows, std::size_t cols)> add;
};

inline std::vector<method> all_methods() {
  auto const entry = [](std::string key, std::string label, auto const& composition) {
    return method{key, label, [=](reducer& r, std::string const& name, std::size_t rows, std::size_t cols) {
                    return r.add(name, rows, cols, composition);
                  }};
  };
  constexpr gp::error_feedback memory{};
  return {
      entry("dense", "dense", gp::compress_with()),
      entry("bf16", "bf16", gp::compress_with(gp::cast<gp::bfloat16>{})),
      entry("top_k", "top-k 1 % + EF", gp::compress_with(gp::top_k{.density = 0.01}, memory)),
      entry("gtop_k", "gTop-k 1 % + EF", gp::compress_with(gp::top_k{.density = 0.01}, memory, gp::gtop_k{})),
      entry("random_block", "random block 1/64 + EF", gp::compress_with(gp::random_block{.density = 1.0 / 64}, memory)),
      entry("power_sgd", "PowerSGD r=2 + EF", gp::compress_with(gp::low_rank{.rank = 2}, memory)),
      entry("lq_sgd", "LQ-SGD r=2 + EF", gp::compress_with(gp::low_rank{.rank = 2}, gp::log_quantizer{}, memory)),
      entry("int4", "4-bit stochastic", gp::compress_with(gp::stochastic_int{.bits = 4})),
      entry("sign", "sign + EF", gp::compress_with(gp::sign{}, memory)),
      entry("top_k_int8", "top-k 1 % + 8 bit + EF",
            gp::compress_with(gp::top_k{.density = 0.01}, gp::stochastic_int{.bits = 8}, memory)),
  };
}

}  // namespace digits
