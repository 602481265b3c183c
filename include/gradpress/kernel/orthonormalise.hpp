// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// An orthonormal basis of a few long columns.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/isa.hpp>
#include <gradpress/kernel/launch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace gradpress::kernel {

namespace detail {

inline constexpr std::size_t most_columns = 32;
/// What is left of a column, relative to its norm, at or below which it depends on the columns before it.
inline constexpr double dependent = 1e-5;
/// The same quantity below which Gram's matrix is not trusted, and columns are treated one by one.
inline constexpr double delicate = 1e-3;

/// Rows cut into at most 64 chunks.
struct basis_chunks {
  std::size_t rows;
  [[nodiscard]] constexpr std::size_t grain() const noexcept { return std::max<std::size_t>(1024, (rows + 63) / 64); }
  [[nodiscard]] constexpr std::size_t count() const noexcept { return (rows + grain() - 1) / grain(); }
};
[[nodiscard]] constexpr std::size_t gram_entries(std::size_t r) noexcept { return r * (r + 1) / 2; }

/// A small square matrix.
struct square {
  double at[most_columns][most_columns];
};

/// Few columns, whose sums stay in registers; the bits of the loop over any number.
template <std::size_t R>
GRADPRESS_UNFUSED inline void gram_of_few(float const* p, std::size_t rows, double* gram) noexcept {
  GRADPRESS_UNFUSED_BODY
  double sum[gram_entries(R)] = {};
  for (std::size_t row = 0; row < rows; ++row, p += R) {
    double x[R];
    for (std::size_t j = 0; j < R; ++j) x[j] = static_cast<double>(p[j]);
    for (std::size_t j = 0; j < R; ++j) {
      for (std::size_t i = 0; i <= j; ++i) sum[gram_entries(j) + i] += x[i] * x[j];
    }
  }
  std::copy_n(sum, gram_entries(R), gram);
}
/// gram[j (j + 1) / 2 + i] = column i times column j, i <= j.
GRADPRESS_UNFUSED inline void gram_of(float const* p, std::size_t rows, std::size_t r, double* gram) noexcept {
  GRADPRESS_UNFUSED_BODY
  if (r == 1) return gram_of_few<1>(p, rows, gram);
  if (r == 2) return gram_of_few<2>(p, rows, gram);
  if (r == 4) return gram_of_few<4>(p, rows, gram);
  std::fill_n(gram, gram_entries(r), 0.);
  for (std::size_t row = 0; row < rows; ++row, p += r) {
    double* to = gram;
    for (std::size_t j = 0; j < r; ++j)
      for (std::size_t i = 0; i <= j; ++i) *to++ += static_cast<double>(p[i]) * static_cast<double>(p[j]);
  }
}

/// The same over all chunks of rows, in the first of their partial results; there is at least one row.
template <class Exec>
void sum_gram(Exec const& exec, float const* P, std::size_t rows, std::size_t r, double* partial) {
  basis_chunks const chunks{rows};
  auto const entries = gram_entries(r);
  for_chunks(exec, "gradpress::kernel::gram", chunks.count(), [&](std::size_t c) {
    auto const from = c * chunks.grain();
    gram_of(P + from * r, std::min(chunks.grain(), rows - from), r, partial + c * entries);
  });
  for (std::size_t c = 1; c < chunks.count(); ++c)
    for (std::size_t i = 0; i < entries; ++i) partial[i] += partial[c * entries + i];
}

/// Every row of few columns, none of them dropped, times the upper triangle t; the bits of the loop over any number.
template <std::size_t R>
GRADPRESS_UNFUSED inline void apply_triangle_to_few(float* p, std::size_t rows, square const& t) noexcept {
  GRADPRESS_UNFUSED_BODY
  double own[gram_entries(R)];
  for (std::size_t j = 0; j < R; ++j)
    for (std::size_t i = 0; i <= j; ++i) own[gram_entries(j) + i] = t.at[i][j];
  for (std::size_t row = 0; row < rows; ++row, p += R) {
    double x[R];
    for (std::size_t j = 0; j < R; ++j) x[j] = static_cast<double>(p[j]);
    for (std::size_t j = 0; j < R; ++j) {
      double sum = 0;
      for (std::size_t i = 0; i <= j; ++i) sum += x[i] * own[gram_entries(j) + i];
      p[j] = static_cast<float>(sum);
    }
  }
}
/// Every row times the upper triangle t; column j of zeros where keep[j] is false.
GRADPRESS_UNFUSED inline void apply_triangle(float* p, std::size_t rows, std::size_t r, square const& t,
                                             bool const* keep) noexcept {
  GRADPRESS_UNFUSED_BODY
  if (std::all_of(keep, keep + r, [](bool k) { return k; })) {
    if (r == 1) return apply_triangle_to_few<1>(p, rows, t);
    if (r == 2) return apply_triangle_to_few<2>(p, rows, t);
    if (r == 4) return apply_triangle_to_few<4>(p, rows, t);
  }
  for (std::size_t row = 0; row < rows; ++row, p += r)
    for (std::size_t j = r; j-- > 0;) {
      double x = 0;
      for (std::size_t i = 0; i <= j; ++i)
        if (keep[i]) x += static_cast<double>(p[i]) * t.at[i][j];
      p[j] = keep[j] ? static_cast<float>(x) : 0.f;
    }
}

/// The inverse t of Cholesky's factor, so that P t is orthonormal, over the columns to keep; a column is dropped if its
/// norm is zero or not finite. False: the columns are nearly dependent.
GRADPRESS_UNFUSED inline bool invert_cholesky(double const* gram, std::size_t r, square& t, bool* keep) noexcept {
  GRADPRESS_UNFUSED_BODY
  double norm[most_columns];
  square up;
  for (std::size_t j = 0; j < r; ++j) {
    double const* const g = gram + gram_entries(j);
    keep[j] = g[j] > 0 && std::isfinite(g[j]);
    if (!keep[j]) continue;
    norm[j] = std::sqrt(g[j]);
    double left = 1;
    for (std::size_t i = 0; i < j; ++i) {
      if (!keep[i]) continue;
      double x = g[i] / norm[i] / norm[j];
      for (std::size_t k = 0; k < i; ++k)
        if (keep[k]) x -= up.at[k][i] * up.at[k][j];
      up.at[i][j] = x / up.at[i][i];
      left -= up.at[i][j] * up.at[i][j];
    }
    if (!(left > delicate * delicate)) return false;
    up.at[j][j] = std::sqrt(left);
  }
  for (std::size_t j = 0; j < r; ++j) {
    if (!keep[j]) continue;
    t.at[j][j] = 1 / up.at[j][j];
    for (std::size_t i = j; i-- > 0;) {
      if (!keep[i]) continue;
      double x = 0;
      for (std::size_t k = i + 1; k <= j; ++k)
        if (keep[k]) x -= up.at[i][k] * t.at[k][j];
      t.at[i][j] = x / up.at[i][i];
    }
  }
  for (std::size_t i = 0; i < r; ++i)
    for (std::size_t j = i; j < r; ++j)
      if (keep[i] && keep[j]) t.at[i][j] /= norm[i];
  return true;
}

GRADPRESS_UNFUSED inline double column_product(float const* p, std::size_t rows, std::size_t r, std::size_t i,
                                               std::size_t j) noexcept {
  GRADPRESS_UNFUSED_BODY
  double x = 0;
  for (std::size_t row = 0; row < rows; ++row)
    x += static_cast<double>(p[row * r + i]) * static_cast<double>(p[row * r + j]);
  return x;
}
inline void scale_column(float* p, std::size_t rows, std::size_t r, double factor, std::size_t j) noexcept {
  for (std::size_t row = 0; row < rows; ++row)
    p[row * r + j] = static_cast<float>(factor * static_cast<double>(p[row * r + j]));
}
/// Takes column i, times their product, out of column j.
GRADPRESS_UNFUSED inline void remove_column(float* p, std::size_t rows, std::size_t r, std::size_t i,
                                            std::size_t j) noexcept {
  GRADPRESS_UNFUSED_BODY
  auto const product = column_product(p, rows, r, i, j);
  for (std::size_t row = 0; row < rows; ++row)
    p[row * r + j] =
        static_cast<float>(static_cast<double>(p[row * r + j]) - product * static_cast<double>(p[row * r + i]));
}

/// Modified Gram-Schmidt, every column twice. Returns the rank.
inline int gram_schmidt(float* p, std::size_t rows, std::size_t r) noexcept {
  int rank = 0;
  bool keep[most_columns];
  for (std::size_t j = 0; j < r; ++j) {
    auto const norm = std::sqrt(column_product(p, rows, r, j, j));
    keep[j] = norm > 0 && std::isfinite(norm);
    if (keep[j]) scale_column(p, rows, r, 1 / norm, j);
    for (int pass = 0; pass < 2 && keep[j]; ++pass) {
      for (std::size_t i = 0; i < j; ++i)
        if (keep[i]) remove_column(p, rows, r, i, j);
      auto const left = std::sqrt(column_product(p, rows, r, j, j));
      keep[j] = left > dependent;
      if (keep[j]) scale_column(p, rows, r, 1 / left, j);
    }
    if (!keep[j])
      for (std::size_t row = 0; row < rows; ++row) p[row * r + j] = 0;
    rank += keep[j];
  }
  return rank;
}

}  // namespace detail

/// Bytes that `orthonormalise` works in.
[[nodiscard]] constexpr std::size_t orthonormalise_workspace(std::size_t rows, std::size_t r) noexcept {
  return (detail::basis_chunks{rows}.count() * detail::gram_entries(r) + 1) * sizeof(double);
}

/// Makes the columns of P orthonormal, each against those before it; returns how many there are.
///
/// - Shape   rows x r, row-major, r <= 32.
/// - Edges   a column that is zero, or depends on those before it (less than 1e-5 of its norm is left), or holds NaN or
///           infinity becomes exactly zero. Sums run in double, so the scale of the input does not matter.
/// - Order   chunks of rows and the order of their sums depend on the shape alone.
/// - Cost    four passes over P, r^2 flops an element; a serial, slower way if the columns are almost dependent.
/// - Source  Yamamoto et al., Roundoff error analysis of the CholeskyQR2 algorithm, ETNA 2015; modified Gram-Schmidt
///           with every column treated twice where Cholesky is not safe.
template <class Exec>
int orthonormalise(Exec const& exec, float* P, std::size_t rows, std::size_t r, std::byte* work) {
  if (rows == 0) return 0;
  detail::basis_chunks const chunks{rows};
  auto* const partial = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(work) + 7) / 8 * 8);
  detail::square triangle;
  bool keep[detail::most_columns];
  for (int pass = 0; pass < 2; ++pass) {
    detail::sum_gram(exec, P, rows, r, partial);
    if (!detail::invert_cholesky(partial, r, triangle, keep)) return detail::gram_schmidt(P, rows, r);
    for_chunks(exec, "gradpress::kernel::apply_triangle", chunks.count(), [&](std::size_t c) {
      auto const from = c * chunks.grain();
      detail::apply_triangle(P + from * r, std::min(chunks.grain(), rows - from), r, triangle, keep);
    });
  }
  return static_cast<int>(std::count(keep, keep + r, true));
}

GRADPRESS_ONCE(orthonormalise);

}  // namespace gradpress::kernel
