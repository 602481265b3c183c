// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Schedules: send much in the first epochs, while gradients change fast and their memories are old at once.

#include <gradpress/concepts/schedule.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

namespace gradpress {

namespace detail {
inline void check_warm_up(std::string_view name, double density, std::uint64_t steps_per_epoch) {
  if (!(density > 0 && density <= 1))
    throw configuration_error(std::string(name) + ": density must lie in (0, 1], it is " + std::to_string(density));
  if (steps_per_epoch == 0) throw configuration_error(std::string(name) + ": steps_per_epoch must be at least 1");
}
}  // namespace detail

/// Densities by epoch from a list, then the final one for good.
///
///     rho(step) = max(stages[e], density) while e = floor(step / steps_per_epoch) is inside the list, else density
///
/// - Units     shares of the coefficients, for the knob `density` of a selector.
/// - Edges     a final density above a stage holds in that stage too: the warm-up never sends less than what follows.
/// - Source    Lin, Han, Mao, Wang, Dally, Deep Gradient Compression, ICLR 2018, section 3.3: 25 %, 6.25 %, 1.5625 %,
///             0.4 %, 0.1 %; the list here is the one of the published code.
struct warm_up {
  double density = 0.001;  ///< after the warm-up
  std::uint64_t steps_per_epoch = 1;
  std::array<double, 4> stages = {0.25, 0.063, 0.015, 0.004};  ///< one an epoch

  void check() const {
    detail::check_warm_up("warm_up", density, steps_per_epoch);
    for (auto const s : stages) detail::check_warm_up("warm_up: a stage's", s, 1);
  }
  [[nodiscard]] constexpr double operator()(std::uint64_t step) const noexcept {
    auto const epoch = step / std::max<std::uint64_t>(1, steps_per_epoch);
    return epoch < stages.size() ? std::max(stages[static_cast<std::size_t>(epoch)], density) : density;
  }
};

/// Densities that fall by the same factor from epoch to epoch.
///
///     rho(step) = max(density^((e + 1) / (epochs + 1)), density), e = floor(step / steps_per_epoch)
///
/// - Units     as above.
/// - Edges     epochs = 0 is no warm-up.
/// - Source    the published code of Deep Gradient Compression, where no list is given.
struct geometric_warm_up {
  double density = 0.001;  ///< after the warm-up
  std::uint64_t steps_per_epoch = 1;
  std::uint64_t epochs = 4;  ///< of warm-up

  void check() const { detail::check_warm_up("geometric_warm_up", density, steps_per_epoch); }
  [[nodiscard]] double operator()(std::uint64_t step) const noexcept {
    auto const epoch = step / std::max<std::uint64_t>(1, steps_per_epoch);
    if (epoch >= epochs) return density;
    return std::max(std::pow(density, static_cast<double>(epoch + 1) / static_cast<double>(epochs + 1)), density);
  }
};

/// Ranks that halve in stages of equal length, down to the final one.
///
///     rank(step) = max(to, floor(from / 2^s)), s the stage of `step`; `to` from `steps` on
///
/// - Units     ranks, for the knob `rank` of `low_rank`.
/// - Stages    as many as halvings lead from `from` to `to`: each change allocates, and draws or cuts factors, so few
///             changes are better than a line. Powers of two are what the kernels are fastest at.
/// - Edges     steps = 0, and from = to, are no warm-up. Fewer steps than stages: a stage a step, cut off at the end.
/// - Source    ours, after the warm-up of Deep Gradient Compression. Published low-rank code sends its first steps dense
///             instead.
struct rank_warm_up {
  int from = 16;            ///< in the first step
  int to = 2;               ///< after the warm-up
  std::uint64_t steps = 0;  ///< of warm-up

  void check() const {
    if (to < 1 || from < to || from > 32)
      throw configuration_error("rank_warm_up: ranks must fall and lie in 1..32, they are " + std::to_string(from) +
                                " and then " + std::to_string(to));
  }
  [[nodiscard]] constexpr double operator()(std::uint64_t step) const noexcept {
    if (step >= steps) return to;
    std::uint64_t stages = 0;
    while (from >> stages > to) ++stages;
    if (stages == 0) return to;
    auto const stage = step / (steps / stages + (steps % stages != 0));
    return std::max(to, from >> std::min(stage, stages));
  }
};

static_assert(explain_schedule<warm_up>() && explain_schedule<geometric_warm_up>() && explain_schedule<rank_warm_up>());

}  // namespace gradpress
