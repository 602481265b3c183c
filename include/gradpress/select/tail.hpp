// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Distributions that thresholds are fitted to, by the mean and the variance of what is beyond the threshold before.

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace gradpress {

enum class tail_fit {
  exponential,  ///< one parameter, from the mean
  pareto        ///< generalised Pareto: shape and scale, from mean and variance; heavier tails, or ends
};
constexpr std::array<std::string_view, 2> names_of(tail_fit) { return {"exponential", "pareto"}; }

/// How far beyond its start `share` of a tail lies, which has this mean and this mean of squares; share in (0, 1].
///
/// - Formula   exponential: mean L, with L = ln(1/share). pareto: beta (exp(alpha L) - 1) / alpha, alpha = (1 - r)/2,
///             beta = mean (1 + r)/2, r = mean^2 / variance; alpha < 1/2 whatever the data, negative where the tail ends
///             (-1 is uniform), and 0 exponential.
/// - Edges     no variance: the mean.
/// - Source    Hosking, Wallis, Parameter and Quantile Estimation for the Generalized Pareto Distribution, Technometrics
///             29, 1987 (moments); Abdelmoniem, Elzanaty, Alouini, Canini, SIDCo, MLSys 2021.
[[nodiscard]] inline double tail_quantile(tail_fit fit, double mean, double mean_square, double share) noexcept {
  auto const l = std::log(1 / share), variance = mean_square - mean * mean;
  if (fit == tail_fit::exponential) return mean * l;
  auto const r = mean * mean / variance;
  if (!(variance > 0) || !std::isfinite(r)) return mean;
  auto const alpha = (1 - r) / 2, beta = mean * (1 + r) / 2;
  return beta * (alpha == 0 ? l : std::expm1(alpha * l) / alpha);
}

}  // namespace gradpress
