// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The choices of a budget table, measured on data: ranks, densities and bits, each with its bytes and its error.
///
/// Errors are Euclidean norms of what is lost, in the units of the signal. Equal signals give equal bits for any number
/// of threads, so ranks that hold the same signal build the same table.

#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/kernel/eigen.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/norm.hpp>
#include <gradpress/kernel/orthonormalise.hpp>
#include <gradpress/schedule/budgets.hpp>
#include <gradpress/select/density.hpp>

namespace gradpress {

namespace detail {
inline void check_bounds(char const* name, int lowest, int highest) {
  if (lowest < 1 || highest > 32 || lowest > highest)
    throw configuration_error(std::string(name) + ": ranks must lie in 1..32 and ascend, they are " +
                              std::to_string(lowest) + " and " + std::to_string(highest));
}
}  // namespace detail

/// The ranks lowest ... highest of a matrix, a choice each, for the knob `rank` of `low_rank`.
///
/// - Shape   m is rows x cols, row-major; it is overwritten with what the highest rank leaves of it.
/// - Bytes   4 r (rows + cols), r = min(rank, rows, cols): both factors as floats. A quantizer divides all by about the
///           same, which changes no pick.
/// - Error   Frobenius norm of m - m_r, m_r the best of rank r in a subspace of `highest` columns after that many power
///           iterations: never below the best error but for rounding, about 1e-7 of |m|; 0 where r is the full rank.
///           Directions below 1e-5 of the largest may be missed. NaN for every rank if m holds NaN or infinity.
/// - Cost    2 iterations + 3 passes over m; allocates the factors and the workspace of its kernels.
/// - Source  Alimohammadi et al., L-GreCo, MLSys 2024: five power iterations. Differs: one subspace for all ranks, whose
///           singular values are taken from its Gram matrix, in double.
template <class Exec>
std::vector<budget_choice> rank_choices(Exec const& exec, view<Exec> m, shape d, int lowest, int highest,
                                        int iterations = 5) {
  detail::check_bounds("rank_choices", lowest, highest);
  if (m.extent(0) != d.size())
    throw configuration_error("rank_choices: the matrix has " + std::to_string(m.extent(0)) + " elements, not " +
                              std::to_string(d.rows) + " x " + std::to_string(d.cols));
  auto const full = std::min(d.rows, d.cols);
  auto const k = std::min(static_cast<std::size_t>(highest), full);
  std::vector<double> partial(kernel::dense_chunks(d.size())), energy;
  auto const whole = kernel::norm(exec, m.data(), d.size(), partial.data());
  auto left = whole;
  if (whole > 0 && std::isfinite(whole)) {
    auto const q = unwritten<Exec>("gradpress::factor", d.cols * k),
               p = unwritten<Exec>("gradpress::basis", d.rows * k);
    auto const room = unwritten<Exec, std::byte>(
        "gradpress::scratch", std::max(kernel::low_rank_workspace(d.rows, d.cols, k),
                                       kernel::orthonormalise_workspace(std::max(d.rows, d.cols), k)));
    for (std::size_t i = 0; i < d.cols * k; ++i) q(i) = key{}.uniform(i) - 0.5f;
    for (int i = 0; i < iterations; ++i) {
      kernel::multiply(exec, m.data(), d.rows, d.cols, q.data(), k, room.data(), p.data());
      kernel::orthonormalise(exec, p.data(), d.rows, k, room.data());
      kernel::multiply_transposed(exec, m.data(), d.rows, d.cols, p.data(), k, room.data(), q.data());
      kernel::orthonormalise(exec, q.data(), d.cols, k, room.data());
    }
    kernel::multiply(exec, m.data(), d.rows, d.cols, q.data(), k, room.data(), p.data());
    kernel::outer_subtract(exec, p.data(), q.data(), d.rows, d.cols, k, room.data(), m.data());
    left = kernel::norm(exec, m.data(), d.size(), partial.data());
    std::vector<double> gram(kernel::detail::gram_entries(k));
    kernel::detail::gram_of(p.data(), d.rows, k, gram.data());
    std::vector<double> square(k * k);
    for (std::size_t j = 0; j < k; ++j)
      for (std::size_t i = 0; i <= j; ++i) square[j * k + i] = gram[kernel::detail::gram_entries(j) + i];
    std::vector<std::byte> work(kernel::symmetric_eigen_workspace(k));
    energy.resize(k);
    kernel::symmetric_eigen(exec, square.data(), k, work.data(), energy.data());
  }
  std::vector<budget_choice> choices;
  for (int rank = lowest; rank <= highest; ++rank) {
    auto const r = std::min(static_cast<std::size_t>(rank), full);
    auto error = left * left;  // a sum of squares that is never a difference: small errors stay exact
    for (auto j = energy.size(); j > r; --j) error += std::max(0., energy[j - 1]);
    choices.push_back({static_cast<double>(rank), 4 * static_cast<double>(r * (d.rows + d.cols)),
                       !std::isfinite(whole) ? std::numeric_limits<double>::quiet_NaN()
                       : r == full           ? 0
                                             : std::sqrt(error)});
  }
  return choices;
}

/// The given densities, a choice each, for the knob `density` of a selector that keeps the largest.
///
/// - Bytes   8 an entry kept: a float and an index of 32 bits.
/// - Error   Euclidean norm of all but the kept_of(density, n) largest magnitudes, exactly. NaN for every density if x
///           holds NaN or infinity.
/// - Cost    O(n log n), 12 n bytes.
inline std::vector<budget_choice> density_choices(std::span<float const> x, std::span<double const> densities) {
  std::vector<float> sorted(x.begin(), x.end());
  bool finite = true;
  for (auto& v : sorted) finite = finite && std::isfinite(v), v = std::abs(v);
  if (finite) std::sort(sorted.begin(), sorted.end());
  std::vector<double> lost(x.size() + 1, 0);  // squares of the smallest i
  for (std::size_t i = 0; i < x.size(); ++i)
    lost[i + 1] = lost[i] + static_cast<double>(sorted[i]) * static_cast<double>(sorted[i]);
  std::vector<budget_choice> choices;
  for (auto const density : densities) {
    check_density("density_choices", density);
    auto const k = kept_of(density, x.size());
    choices.push_back({density, 8 * static_cast<double>(k),
                       finite ? std::sqrt(lost[x.size() - k]) : std::numeric_limits<double>::quiet_NaN()});
  }
  return choices;
}

/// The given widths, a choice each, for the knob `bits` of a quantizer.
///
/// - Bytes   the quantizer's code_bytes.
/// - Error   Euclidean norm of x less its decoded codes, as rank 0 would round them. NaN if the quantizer refuses x.
/// - Cost    an encoding and a decoding a width; codes and n floats.
template <class Exec, class Quantizer>
requires(!agreeing<Quantizer> && requires(Quantizer q) { q.bits = 8; }) std::vector<budget_choice> bit_choices(
    Exec const& exec, in<Exec> x, std::span<int const> bits, Quantizer quantizer) {
  arena<Exec> memory;
  step<Exec> ctx{.exec = exec, .memory = &memory};
  auto const n = x.extent(0);
  auto const decoded = unwritten<Exec>("gradpress::decoded", n);
  std::vector<double> partial(kernel::dense_chunks(n));
  std::vector<budget_choice> choices;
  for (auto const b : bits) {
    quantizer.bits = b;
    if constexpr (requires { quantizer.check(); }) quantizer.check();
    auto const codes = unwritten<Exec, std::byte>("gradpress::codes", padded(quantizer.code_bytes(n)));
    bool legal = true;
    if constexpr (std::is_void_v<decltype(quantizer.encode(ctx, x, bytes<Exec>(codes)))>)
      quantizer.encode(ctx, x, bytes<Exec>(codes));
    else
      legal = quantizer.encode(ctx, x, bytes<Exec>(codes));
    if (legal) quantizer.decode(ctx, in_bytes<Exec>(codes), view<Exec>(decoded));
    memory.release();
    choices.push_back({static_cast<double>(b), static_cast<double>(quantizer.code_bytes(n)),
                       legal ? kernel::distance(exec, x.data(), 1, decoded.data(), n, partial.data())
                             : std::numeric_limits<double>::quiet_NaN()});
  }
  return choices;
}

}  // namespace gradpress
