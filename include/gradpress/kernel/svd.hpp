// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Singular values and vectors of a matrix of floats: the leading few of a large one, or all of a smaller one.
///
/// M is rows x cols, row-major. All sums are split by the shape alone: the same bits for any number of threads and on
/// every instruction set.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/eigen.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/orthonormalise.hpp>

namespace gradpress::kernel {

namespace detail {

/// (M M^T)^4 M: a singular value half as large as another one keeps 1/512 of its share.
inline constexpr int power_steps = 4;
/// Columns beyond those that are wanted.
inline constexpr std::size_t oversampling = 8;
[[nodiscard]] constexpr std::size_t trial_columns(std::size_t rows, std::size_t cols, std::size_t r) noexcept {
  return std::min({r + oversampling, most_columns, rows, cols});
}

/// Columns that are all zero become uniform numbers in [-0.5, 0.5).
inline void draw_missing(float* V, std::size_t cols, std::size_t r, key k) noexcept {
  for (std::size_t j = 0; j < r; ++j) {
    bool alive = false;
    for (std::size_t i = 0; i < cols && !alive; ++i) alive = V[i * r + j] != 0;
    for (std::size_t i = 0; i < cols && !alive; ++i) V[i * r + j] = k.uniform(j * cols + i) - 0.5f;
  }
}

/// Rows from ... end of V = Z W, where row j of W, l long, is column j's recipe; only the first l of V's r columns.
GRADPRESS_UNFUSED inline void combine_columns(float const* Z, std::size_t l, double const* W, std::size_t from,
                                              std::size_t end, std::size_t r, float* V) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (auto row = from; row < end; ++row)
    for (std::size_t j = 0; j < std::min(l, r); ++j) {
      double x = 0;
      for (std::size_t i = 0; i < l; ++i) x += static_cast<double>(Z[row * l + i]) * W[j * l + i];
      V[row * r + j] = static_cast<float>(x);
    }
}

/// In 8 lanes, element i in lane i mod 8.
template <class X, class Y>
GRADPRESS_UNFUSED inline double dot_in_lanes(X const* x, Y const* y, std::size_t n) noexcept {
  GRADPRESS_UNFUSED_BODY
  double sum[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t l = 0; l < 8; ++l) sum[l] += static_cast<double>(x[i + l]) * static_cast<double>(y[i + l]);
  for (std::size_t l = 0; i + l < n; ++l) sum[l] += static_cast<double>(x[i + l]) * static_cast<double>(y[i + l]);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
/// y += x row, or the first elements of it.
GRADPRESS_UNFUSED inline void add_times(double x, float const* row, std::size_t n, double* y) noexcept {
  GRADPRESS_UNFUSED_BODY
  for (std::size_t j = 0; j < n; ++j) y[j] += x * static_cast<double>(row[j]);
}

/// Rows from ... end of the lower triangle of M M^T. Panels of columns, so that these rows stay in the first cache.
inline void gram_of_rows(float const* M, std::size_t rows, std::size_t cols, std::size_t from, std::size_t end,
                         double* G) noexcept {
  constexpr std::size_t panel = 1024;
  for (std::size_t c = 0; c < cols; c += panel)
    for (std::size_t j = 0; j < end; ++j)
      for (auto i = std::max(from, j); i < end; ++i)
        G[i * rows + j] += dot_in_lanes(M + i * cols + c, M + j * cols + c, std::min(panel, cols - c));
}
/// Rows from ... end of the lower triangle of M^T M.
inline void gram_of_columns(float const* M, std::size_t rows, std::size_t cols, std::size_t from, std::size_t end,
                            double* G) noexcept {
  for (std::size_t k = 0; k < rows; ++k, M += cols)
    for (auto i = from; i < end; ++i) add_times(static_cast<double>(M[i]), M, i + 1, G + i * cols);
}

}  // namespace detail

/// Bytes that `top_right_singular` works in.
[[nodiscard]] constexpr std::size_t top_right_singular_workspace(std::size_t rows, std::size_t cols,
                                                                 std::size_t r) noexcept {
  auto const l = detail::trial_columns(rows, cols, r);
  return (rows + cols) * l * sizeof(float) + low_rank_workspace(rows, cols, l) +
         std::max(orthonormalise_workspace(rows, l), orthonormalise_workspace(cols, std::max(l, r))) +
         (l + 1) * l * sizeof(double) + symmetric_eigen_workspace(l) + 5 * 64;
}

/// V = the r leading right singular vectors of M, nearly, by subspace iteration from random numbers of the key.
///
/// - Shape   V is cols x r, row-major, its columns orthonormal; r <= 32 and r <= cols.
/// - Order   singular values descend.
/// - Cost    ten reads of M, with l = min(r + 8, 32, rows, cols) columns in the products.
/// - Edges   directions that M lacks are drawn from the key: the columns are orthonormal even if M is zero, or not
///           finite. Singular values less than 1e-5 of the largest may be taken for zero.
/// - Error   a share (sigma_(l+1) / sigma_r)^9 of the vectors, nothing if M has rank l; where values decay slowly the
///           vectors are others, and |M V| nearly as large.
/// - Source  Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 2011, algorithms 4.4 and 5.1 with
///           q = 4. Differs: uniform numbers, which are the same bits everywhere; Gram's matrix for the small SVD.
template <class Exec>
void top_right_singular(Exec const& exec, float const* M, std::size_t rows, std::size_t cols, std::size_t r, key k,
                        std::byte* work, float* V) {
  auto const l = detail::trial_columns(rows, cols, r);
  auto const take = [&work](std::size_t size) {
    auto* const at = reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(work) + 63) / 64 * 64);
    work = at + size;
    return at;
  };
  auto* const Q = reinterpret_cast<float*>(take(cols * l * sizeof(float)));
  auto* const Y = reinterpret_cast<float*>(take(rows * l * sizeof(float)));
  auto* const gram = reinterpret_cast<double*>(take((l + 1) * l * sizeof(double)));
  auto* const products = take(low_rank_workspace(rows, cols, l));
  auto* const basis = take(std::max(orthonormalise_workspace(rows, l), orthonormalise_workspace(cols, std::max(l, r))));
  std::fill_n(V, cols * r, 0.f);
  if (l > 0) {
    for_ranges(exec, "gradpress::kernel::draw_start", cols * l, 16384, [&](std::size_t from, std::size_t end) {
      for (; from < end; ++from) Q[from] = k.uniform(from) - 0.5f;
    });
    for (int s = 0; s <= detail::power_steps; ++s) {
      if (s > 0) orthonormalise(exec, Q, cols, l, basis);
      multiply(exec, M, rows, cols, Q, l, products, Y);
      orthonormalise(exec, Y, rows, l, basis);
      multiply_transposed(exec, M, rows, cols, Y, l, products, Q);
    }
    // Y is orthonormal and Q^T = Y^T M: the eigenvectors of Q^T Q turn both to singular vectors.
    auto* const partial = reinterpret_cast<double*>(basis);
    detail::sum_gram(exec, Q, cols, l, partial);
    for (std::size_t j = 0; j < l; ++j)
      for (std::size_t i = 0; i <= j; ++i) gram[j * l + i] = partial[detail::gram_entries(j) + i];
    symmetric_eigen(exec, gram, l, take(symmetric_eigen_workspace(l)), gram + l * l);
    for_ranges(exec, "gradpress::kernel::combine_columns", cols, 4096,
               [&](std::size_t from, std::size_t end) { detail::combine_columns(Q, l, gram, from, end, r, V); });
  }
  for (std::uint64_t attempt = 1; attempt < 64; ++attempt) {
    if (orthonormalise(exec, V, cols, r, basis) == static_cast<int>(r)) return;
    detail::draw_missing(V, cols, r, k.with(attempt));
  }
}

/// Bytes that `svd_small` works in.
[[nodiscard]] constexpr std::size_t svd_small_workspace(std::size_t rows, std::size_t cols) noexcept {
  return symmetric_eigen_workspace(std::min(rows, cols));
}

/// All singular values of M, and the singular vectors of its shorter side: right ones if cols <= rows. False: M holds
/// NaN or infinity; the values are then zeros.
///
/// - Shape   with m = min(rows, cols): m values; `vectors` is m x m, row l the unit vector of value l.
/// - Order   values descend.
/// - Cost    m^2 max(rows, cols) / 2 products and `symmetric_eigen` of m: meant for m <= 512,
///           where it takes 2 s; 7 ms for 64 x 4096, 0.25 s for 256 x 4096.
/// - Error   values have errors of some 1e-8 of the largest one, the price of Gram's matrix: no more than what M lost
///           when it was rounded to floats.
template <class Exec>
bool svd_small(Exec const& exec, float const* M, std::size_t rows, std::size_t cols, std::byte* work, double* values,
               double* vectors) {
  auto const m = std::min(rows, cols);
  std::fill_n(vectors, m * m, 0.);
  for_ranges(exec, "gradpress::kernel::gram_of_matrix", m, 8, [&](std::size_t from, std::size_t end) {
    cols <= rows ? detail::gram_of_columns(M, rows, cols, from, end, vectors)
                 : detail::gram_of_rows(M, rows, cols, from, end, vectors);
  });
  auto const finite = symmetric_eigen(exec, vectors, m, work, values);
  for (std::size_t l = 0; l < m; ++l) values[l] = std::sqrt(std::max(0., values[l]));
  return finite;
}

/// Bytes that `singular_pair` works in.
[[nodiscard]] constexpr std::size_t singular_pair_workspace(std::size_t rows, std::size_t cols) noexcept {
  return std::max(rows, cols) * sizeof(double) + 8;
}

/// Both vectors of a singular value from the one of the shorter side: left = factor sigma u, right = v.
///
/// - Shape   w has min(rows, cols) elements, a row of `svd_small`; left has rows, right cols elements, `stride` apart.
/// - Edges   left right^T is factor times the part of M along w, whatever unit vector w is. If that part is zero left
///           is zeros, and right may be.
/// - Cost    one read of M.
template <class Exec>
void singular_pair(Exec const& exec, float const* M, std::size_t rows, std::size_t cols, double const* w, double factor,
                   std::byte* work, float* left, float* right, std::size_t stride) {
  auto* const y = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(work) + 7) / 8 * 8);
  if (cols <= rows) {
    for_ranges(exec, "gradpress::kernel::along_right", rows, 65536 / std::max<std::size_t>(1, cols) + 1,
               [&](std::size_t from, std::size_t end) {
                 for (; from < end; ++from) y[from] = detail::dot_in_lanes(M + from * cols, w, cols);
               });
    for (std::size_t i = 0; i < rows; ++i) left[i * stride] = static_cast<float>(factor * y[i]);
    for (std::size_t j = 0; j < cols; ++j) right[j * stride] = static_cast<float>(w[j]);
    return;
  }
  for_ranges(exec, "gradpress::kernel::along_left", cols, 4096, [&](std::size_t from, std::size_t end) {
    std::fill(y + from, y + end, 0.);
    for (std::size_t i = 0; i < rows; ++i) detail::add_times(w[i], M + i * cols + from, end - from, y + from);
  });
  auto const sigma = std::sqrt(detail::dot_in_lanes(y, y, cols));
  for (std::size_t i = 0; i < rows; ++i) left[i * stride] = static_cast<float>(factor * sigma * w[i]);
  for (std::size_t j = 0; j < cols; ++j) right[j * stride] = sigma == 0 ? 0.f : static_cast<float>(y[j] / sigma);
}

GRADPRESS_ONCE(top_right_singular);
GRADPRESS_ONCE(svd_small);
GRADPRESS_ONCE(singular_pair);

}  // namespace gradpress::kernel
