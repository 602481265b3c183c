// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Eigenvalues and eigenvectors of a small symmetric matrix.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/isa.hpp>
#include <gradpress/kernel/launch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace gradpress::kernel {

namespace detail {

/// In a matrix whose largest entry lies in [1, 2), what is as good as zero off the diagonal.
inline constexpr double negligible = 0x1p-64;
/// A sweep turns every pair of indices once. Six to ten are the rule.
inline constexpr int most_sweeps = 40;

/// Turns axes p and q, p < q, so that entry (p, q) vanishes; the new entries of the diagonal.
struct rotation {
  std::size_t p, q;
  double cosine, sine, at_p, at_q;
};

/// 2^e for the largest magnitude m in [2^e, 2^(e + 1)); its inverse is a normal number, too.
inline double power_below(double m) noexcept {
  auto const exponent = std::clamp<std::uint64_t>(std::bit_cast<std::uint64_t>(m) >> 52, 1, 2045);
  return std::bit_cast<double>(exponent << 52);
}

/// The rotations of one round: pairs that have no index in common, by the tournament schedule of the circle.
GRADPRESS_UNFUSED inline std::size_t plan_rotations(double const* A, std::size_t m, std::size_t round,
                                                    rotation* to) noexcept {
  GRADPRESS_UNFUSED_BODY
  auto const seats = m + m % 2 - 1;  // on the circle; one more in its middle, which nobody has if m is odd
  std::size_t count = 0;
  for (std::size_t i = 0; i <= seats / 2; ++i) {
    auto p = (round + i) % seats, q = i == 0 ? seats : (round + seats - i) % seats;
    if (p > q) std::swap(p, q);
    if (q >= m) continue;
    auto const off = A[p * m + q], at_p = A[p * m + p], at_q = A[q * m + q];
    if (std::fabs(off) <= negligible) continue;
    auto const theta = (at_q - at_p) / (2 * off);
    auto const size = 1 / (std::fabs(theta) + std::sqrt(theta * theta + 1));
    auto const tangent = theta < 0 ? -size : size;
    auto const cosine = 1 / std::sqrt(tangent * tangent + 1);
    to[count++] = {p, q, cosine, tangent * cosine, at_p - tangent * off, at_q + tangent * off};
  }
  return count;
}
GRADPRESS_UNFUSED inline void rotate_rows(double* A, std::size_t m, rotation const& r) noexcept {
  GRADPRESS_UNFUSED_BODY
  double *const p = A + r.p * m, *const q = A + r.q * m;
  for (std::size_t i = 0; i < m; ++i) {
    auto const x = p[i], y = q[i];
    p[i] = r.cosine * x - r.sine * y;
    q[i] = r.sine * x + r.cosine * y;
  }
}
GRADPRESS_UNFUSED inline void rotate_entries(double* row, rotation const* r, std::size_t count) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t i = 0; i < count; ++i) {
    auto const x = row[r[i].p], y = row[r[i].q];
    row[r[i].p] = r[i].cosine * x - r[i].sine * y;
    row[r[i].q] = r[i].sine * x + r[i].cosine * y;
  }
}

/// One round on A and, from the left, on the vectors. False: there was nothing to turn.
template <class Exec>
bool rotate(Exec const& exec, double* A, double* vectors, std::size_t m, std::size_t round, rotation* plan) {
  auto const count = plan_rotations(A, m, round, plan);
  if (count == 0) return false;
  auto const grain = 65536 / m + 1;
  for_ranges(exec, "gradpress::kernel::rotate_rows", count, grain, [&](std::size_t from, std::size_t end) {
    for (; from < end; ++from) rotate_rows(A, m, plan[from]), rotate_rows(vectors, m, plan[from]);
  });
  for_ranges(exec, "gradpress::kernel::rotate_columns", m, grain, [&](std::size_t from, std::size_t end) {
    for (; from < end; ++from) rotate_entries(A + from * m, plan, count);
  });
  for (auto const* r = plan; r < plan + count; ++r) {
    A[r->p * m + r->p] = r->at_p, A[r->q * m + r->q] = r->at_q;
    A[r->p * m + r->q] = A[r->q * m + r->p] = 0;
  }
  return true;
}

/// v to `to`, with the sign that makes the first of its largest entries positive.
inline void copy_signed(double const* v, std::size_t m, double* to) noexcept {
  auto const* const top = std::max_element(v, v + m, [](double x, double y) { return std::fabs(x) < std::fabs(y); });
  auto const sign = *top < 0 ? -1. : 1.;
  for (std::size_t i = 0; i < m; ++i) to[i] = sign * v[i];
}

}  // namespace detail

/// Bytes that `symmetric_eigen` works in.
[[nodiscard]] constexpr std::size_t symmetric_eigen_workspace(std::size_t m) noexcept {
  return m * m * sizeof(double) + m * sizeof(std::size_t) + (m / 2 + 1) * sizeof(detail::rotation) + 8;
}

/// A = sum of values[l] v_l v_l^T: the eigenvalues, and row l of A becomes the unit eigenvector v_l. False: A holds NaN
/// or infinity; values are then zeros, and the vectors the axes.
///
/// - Shape   A is m x m, of which the lower triangle is read; m values.
/// - Order   values descend; of equal ones comes first what stood first on the diagonal in the end. The largest entry
///           of a vector, the first of several, is positive. The order of rotations depends on m alone: the same bits
///           for any number of threads, on every machine and for every compiler, unless it is told -ffast-math.
/// - Edges   any rank and sign, m = 0 too. The matrix is scaled by a power of two, so that its size does not matter;
///           errors are some 1e-15 of the largest value. What is smaller than 2^-64 of the largest entry counts as
///           zero.
/// - Cost    6 to 10 sweeps of 9 m^3 flops: 4 ms for m = 64, 0.2 s for 256, 2 s for 512 by one thread.
/// - Source  Jacobi 1846; the angles as in Rutishauser, The Jacobi method for real symmetric matrices, 1966; rounds of
///           independent rotations as in Brent and Luk, SIAM J. Sci. Stat. Comput. 1985.
template <class Exec>
bool symmetric_eigen(Exec const& exec, double* A, std::size_t m, std::byte* work, double* values) {
  if (m == 0) return true;
  auto* const vectors = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(work) + 7) / 8 * 8);
  auto* const plan = reinterpret_cast<detail::rotation*>(vectors + m * m);
  auto* const order = reinterpret_cast<std::size_t*>(plan + m / 2 + 1);
  double largest = 0;
  bool finite = true;
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      finite &= std::isfinite(A[i * m + j]);
      largest = std::max(largest, std::fabs(A[i * m + j]));
    }
  auto const unit = finite ? detail::power_below(largest) : 1.;
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      A[i * m + j] = A[j * m + i] = finite ? A[i * m + j] * (1 / unit) : 0.;
      vectors[i * m + j] = vectors[j * m + i] = i == j ? 1. : 0.;
    }
  bool turned = true;
  for (int sweep = 0; turned && sweep < detail::most_sweeps; ++sweep) {
    turned = false;
    for (std::size_t round = 0; round + 1 < m + m % 2; ++round)
      turned |= detail::rotate(exec, A, vectors, m, round, plan);
  }
  for (std::size_t i = 0; i < m; ++i) order[i] = i;
  std::sort(order, order + m, [&](std::size_t i, std::size_t j) {
    auto const x = A[i * m + i], y = A[j * m + j];
    return x > y || (x == y && i < j);
  });
  for (std::size_t l = 0; l < m; ++l) values[l] = A[order[l] * m + order[l]] * unit;
  for (std::size_t l = 0; l < m; ++l) detail::copy_signed(vectors + order[l] * m, m, A + l * m);
  return finite;
}

GRADPRESS_ONCE(symmetric_eigen);

}  // namespace gradpress::kernel
