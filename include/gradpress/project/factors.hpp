// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What projectors that keep a thin factor between steps do with it: rows x r floats, row-major, equal on all ranks.

#include <gradpress/concepts/projector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/orthonormalise.hpp>

#include <algorithm>
#include <string>

namespace gradpress {

/// Whose factor counts as delivered where an own one and the mean differ.
enum class memory_rule {
  local,  ///< this rank's: smaller residuals, and right behind any quantizer
  global  ///< the mean, as published: the residual holds this rank's deviation from the mean, too
};
constexpr auto names_of(memory_rule) { return std::array<std::string_view, 2>{"local", "global"}; }

namespace detail {

/// Uniform numbers around zero: the same bits on every machine, and only the span matters.
template <class Exec>
void draw_factor(buffer<Exec> const& f, key k) {
  for (std::size_t i = 0; i < f.extent(0); ++i) f(i) = k.uniform(i) - 0.5f;
}

/// Draws columns of zeros anew; how many there were. A zero column would stay zero for ever.
template <class Exec>
std::size_t revive_columns(buffer<Exec> const& f, std::size_t r, key k) {
  std::size_t dead = 0;
  auto const rows = r == 0 ? 0 : f.extent(0) / r;
  for (std::size_t j = 0; j < r; ++j) {
    bool alive = rows == 0;
    for (std::size_t i = 0; i < rows && !alive; ++i) alive = f(i * r + j) != 0.f;
    if (alive) continue;
    ++dead;
    for (std::size_t i = 0; i < rows; ++i) f(i * r + j) = k.uniform(i * r + j) - 0.5f;
  }
  return dead;
}

/// Columns that a factor of the same rows and another r has, too.
template <class Exec>
void carry_columns(buffer<Exec> const& from, buffer<Exec> const& to, std::size_t rows) {
  if (rows == 0) return;
  auto const had = from.extent(0) / rows, has = to.extent(0) / rows;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < std::min(had, has); ++j) to(i * has + j) = from(i * had + j);
}

template <class Exec>
void orthonormalise_factor(step<Exec> const& ctx, buffer<Exec> const& f, std::size_t rows, std::size_t r) {
  auto const room = ctx.template scratch<std::byte>(kernel::orthonormalise_workspace(rows, r));
  kernel::orthonormalise(ctx.exec, f.data(), rows, r, room.data());
}

[[nodiscard]] constexpr std::size_t factor_width(int rank, shape d) noexcept {
  return std::min({static_cast<std::size_t>(std::max(rank, 0)), d.rows, d.cols});
}
/// Two factors are not smaller than the matrix by this rate.
[[nodiscard]] constexpr bool factors_do_not_pay(int rank, shape d, double minimum_rate) noexcept {
  return minimum_rate > 0 &&
         static_cast<double>(factor_width(rank, d)) * static_cast<double>(d.rows + d.cols) * minimum_rate >=
             static_cast<double>(d.size());
}
inline void check_rank(std::string_view who, int rank) {
  if (rank < 1 || rank > 32)
    throw configuration_error(std::string(who) + ": rank must lie in 1..32, it is " + std::to_string(rank));
}
inline void check_rate(std::string_view who, double rate) {
  if (!(rate >= 0))
    throw configuration_error(std::string(who) + ": minimum_rate must be 0 (never whole) or more, it is " +
                              std::to_string(rate));
}

}  // namespace detail

}  // namespace gradpress
