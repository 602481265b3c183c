// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Matrix products, fast enough for a network of a million parameters: one operand is repacked, one kernel does the rest.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <vector>

namespace shakespeare {

/// A matrix by its first element and the distances between rows and between columns: transposed by exchanging the two.
struct matrix_view {
  float const* first;
  std::size_t rows, columns;
  std::size_t row_step, column_step = 1;

  [[nodiscard]] matrix_view transposed() const { return {first, columns, rows, column_step, row_step}; }
};

/// A right-hand operand: panels of 16 columns, each stored row by row, so that the kernel reads from front to back. The
/// last panel is filled up with zeros. Worth its cost where the same matrix is used more than once or with many rows.
class packed_matrix {
 public:
  static constexpr std::size_t width = 16;

  void pack(matrix_view m) {
    rows_ = m.rows;
    columns_ = m.columns;
    data_.resize(panels() * rows_ * width);
    for (std::size_t p = 0; p < panels(); ++p) {
      auto const filled = std::min(width, columns_ - p * width);
      for (std::size_t i = 0; i < rows_; ++i) {
        float* const to = data_.data() + (p * rows_ + i) * width;
        float const* const from = m.first + i * m.row_step + p * width * m.column_step;
        for (std::size_t j = 0; j < filled; ++j) to[j] = from[j * m.column_step];
        std::fill(to + filled, to + width, 0.f);
      }
    }
  }
  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] std::size_t panels() const { return (columns_ + width - 1) / width; }
  [[nodiscard]] float const* panel(std::size_t p) const { return data_.data() + p * rows_ * width; }

 private:
  std::vector<float> data_;
  std::size_t rows_ = 0, columns_ = 0;
};

namespace detail {

#define SHAKESPEARE_INLINE __attribute__((always_inline)) inline
// Sums stay in registers only if the loops over them are unrolled, which GCC does not do at -O2.
#if defined(__clang__)
#define SHAKESPEARE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SHAKESPEARE_UNROLL _Pragma("GCC unroll 4")
#endif

/// Eight floats that GCC and Clang keep in one register, or in two where registers are short.
using lanes = float __attribute__((vector_size(32)));

/// From and to wherever floats lie: one unaligned move.
SHAKESPEARE_INLINE void load(lanes& to, float const* from) { std::memcpy(&to, from, sizeof to); }
SHAKESPEARE_INLINE void store(float* to, lanes const& from) { std::memcpy(to, &from, sizeof from); }

/// c += a b for `Rows` rows of a and one panel of b: the sums stay in registers, two to a row.
template <std::size_t Rows>
SHAKESPEARE_INLINE void multiply_block(float const* a, matrix_view const& shape, float const* panel, float* c,
                                       std::size_t c_step) {
  lanes left[Rows], right[Rows];
  SHAKESPEARE_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    load(left[r], c + r * c_step);
    load(right[r], c + r * c_step + packed_matrix::width / 2);
  }
  for (std::size_t k = 0; k < shape.columns; ++k) {
    lanes b0, b1;
    load(b0, panel + k * packed_matrix::width);
    load(b1, panel + k * packed_matrix::width + packed_matrix::width / 2);
    SHAKESPEARE_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      float const factor = a[r * shape.row_step + k * shape.column_step];
      left[r] += factor * b0;
      right[r] += factor * b1;
    }
  }
  SHAKESPEARE_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    store(c + r * c_step, left[r]);
    store(c + r * c_step + packed_matrix::width / 2, right[r]);
  }
}

template <std::size_t Rows>
SHAKESPEARE_INLINE void multiply_rows(std::size_t first, matrix_view const& a, packed_matrix const& b, float* c) {
  auto constexpr width = packed_matrix::width;
  auto const columns = b.columns();
  for (std::size_t p = 0; p < b.panels(); ++p) {
    float const* const from = a.first + first * a.row_step;
    float* const to = c + first * columns + p * width;
    auto const filled = std::min(width, columns - p * width);
    if (filled == width) {
      multiply_block<Rows>(from, a, b.panel(p), to, columns);
    } else {
      std::array<float, Rows * width> edge{};
      for (std::size_t r = 0; r < Rows; ++r) std::copy_n(to + r * columns, filled, edge.data() + r * width);
      multiply_block<Rows>(from, a, b.panel(p), edge.data(), width);
      for (std::size_t r = 0; r < Rows; ++r) std::copy_n(edge.data() + r * width, filled, to + r * columns);
    }
  }
}

SHAKESPEARE_INLINE void multiply_any(matrix_view const& a, packed_matrix const& b, float* c) {
  std::size_t i = 0;
  for (; i + 4 <= a.rows; i += 4) multiply_rows<4>(i, a, b, c);
  for (; i + 2 <= a.rows; i += 2) multiply_rows<2>(i, a, b, c);
  for (; i < a.rows; ++i) multiply_rows<1>(i, a, b, c);
}

// The same code for two instruction sets. Neither fuses products with sums, so both give the same bits.
inline void multiply_plain(matrix_view const& a, packed_matrix const& b, float* c) { multiply_any(a, b, c); }
#if defined(__x86_64__)
__attribute__((target("avx2"))) inline void multiply_avx2(matrix_view const& a, packed_matrix const& b, float* c) {
  multiply_any(a, b, c);
}
#endif

#undef SHAKESPEARE_INLINE
#undef SHAKESPEARE_UNROLL

}  // namespace detail

/// c += a b, where c has a.rows rows of b.columns() floats end to end. Sums run in the order of a's columns.
inline void multiply_add(matrix_view a, packed_matrix const& b, float* c) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return detail::multiply_avx2(a, b, c);
#endif
  detail::multiply_plain(a, b, c);
}

}  // namespace shakespeare
