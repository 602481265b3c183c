// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What one chunk does in the products with thin matrices: cuts its rows into panels and feeds them to the functions of
/// the instruction set.

#include <gradpress/kernel/blocks.hpp>
#include <gradpress/kernel/portable/low_rank.hpp>
#include <gradpress/kernel/x86/low_rank_avx2.hpp>
#include <gradpress/kernel/x86/low_rank_avx512.hpp>

namespace gradpress::kernel::detail {

/// The functions for `width` vectors at once, width = 1, 2, 4 or 8.
template <std::size_t R>
inline low_rank_functions low_rank_for(isa how) noexcept {
#if GRADPRESS_X86
  if (how == isa::avx512) return low_rank_avx512<R>;
  if (how == isa::avx2) return low_rank_avx2<R>;
#endif
  static_cast<void>(how);
  return low_rank_portable<R>;
}
inline low_rank_functions low_rank_for(isa how, std::size_t width) noexcept {
  return width == 8   ? low_rank_for<8>(how)
         : width == 4 ? low_rank_for<4>(how)
         : width == 2 ? low_rank_for<2>(how)
                      : low_rank_for<1>(how);
}

/// Vectors from j on that are treated at once, and how many there are with those of zeros that fill up the last group.
[[nodiscard]] constexpr std::size_t group_width(std::size_t r, std::size_t j) noexcept {
  return r - j >= 5 ? 8 : r - j >= 3 ? 4 : r - j;
}
[[nodiscard]] constexpr std::size_t padded_rank(std::size_t r) noexcept {
  return r / 8 * 8 + (r % 8 ? group_width(r % 8, 0) : 0);
}
/// Distance of vectors: whole lanes, and one more so that they do not share the sets of a cache.
[[nodiscard]] constexpr std::size_t vector_stride(std::size_t cols) noexcept {
  return (cols + vector_lanes - 1) / vector_lanes * vector_lanes + vector_lanes;
}
[[nodiscard]] constexpr std::size_t vectors_size(std::size_t cols, std::size_t r) noexcept {
  return padded_rank(r) * vector_stride(cols);
}

/// The columns of a cols x r matrix, each contiguous and filled up with zeros, as are the missing ones.
template <class Float>
struct vectors {
  Float* data;
  std::size_t cols, r;

  [[nodiscard]] std::size_t stride() const noexcept { return vector_stride(cols); }
  [[nodiscard]] Float* at(std::size_t j, std::size_t c) const noexcept { return data + j * stride() + c; }
};

/// Large blocks of rows, so that their partial results stay small: whole open rows, at most 64.
struct row_ranges {
  static constexpr std::size_t least = 256;
  std::size_t rows;

  [[nodiscard]] constexpr std::size_t grain() const noexcept {
    return std::max(least, ((rows + 63) / 64 + open_rows_transposed - 1) / open_rows_transposed * open_rows_transposed);
  }
  [[nodiscard]] constexpr std::size_t count() const noexcept {
    return std::max<std::size_t>(1, (rows + grain() - 1) / grain());
  }
};

/// About 65536 elements, whole open rows.
[[nodiscard]] constexpr std::size_t rows_of_chunk(std::size_t cols) noexcept {
  return std::max<std::size_t>(1, 65536 / std::max<std::size_t>(1, cols) / open_rows) * open_rows;
}
/// Columns of a panel: the paths with fewer registers take row after row, and longer turns cost them their streams.
[[nodiscard]] constexpr std::size_t panel_for(isa how) noexcept {
  return how == isa::avx512 ? panel_cols : panel_cols / 2;
}
/// Matrices of at least this many elements are written around the caches. Fewer than elsewhere: a matrix comes with the
/// others of its model, and until it is read again all of those have passed.
inline constexpr std::size_t streaming_rows_from = std::size_t{1} << 17;
/// Do rows that are only written go around the caches? Only where all of them consist of whole lines.
[[nodiscard]] inline bool streams_rows(float const* out, std::size_t rows, std::size_t cols) noexcept {
  return cols % vector_lanes == 0 && rows * cols >= streaming_rows_from &&
         reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
}
inline float* aligned(std::byte* work) noexcept {
  return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(work) + 63) / 64 * 64);
}

inline void split_range(float const* Q, vectors<float> const& v, std::size_t from, std::size_t end) noexcept {
  auto const filled = std::min(end, v.cols);
  for (std::size_t j = 0; j < padded_rank(v.r); ++j) {
    float* const to = v.at(j, 0);
    auto c = from;
    if (j < v.r)
      for (; c < filled; ++c) to[c] = Q[c * v.r + j];
    for (; c < end; ++c) to[c] = 0;
  }
}

/// `count` rows of a rows x r matrix, columns j ... j + width - 1, zeros behind the last.
inline void copy_rows(float const* P, std::size_t r, std::size_t count, std::size_t j, std::size_t width,
                      float* to) noexcept {
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t k = 0; k < width; ++k) *to++ = j + k < r ? P[i * r + j + k] : 0.f;
}
/// The last columns of `count` rows, filled up with zeros to whole lanes.
inline void copy_tails(float const* m, std::size_t m_stride, std::size_t count, std::size_t width, float* to) noexcept {
  std::memset(to, 0, count * vector_lanes * sizeof(float));
  for (std::size_t i = 0; i < count; ++i) std::memcpy(to + i * vector_lanes, m + i * m_stride, width * sizeof(float));
}

/// One panel of rows of P Q^T; several groups of vectors are added up in `room` first.
inline void outer_vectors(isa how, float const* p, vectors<float const> const& q, std::size_t c, std::size_t n,
                          outer_panel const& out) noexcept {
  alignas(64) float room[open_rows * panel_cols];
  float const* before = nullptr;
  for (std::size_t j = 0; j < q.r; j += 8) {
    auto const last = j + 8 >= q.r;
    low_rank_for(how, group_width(q.r, j))
        .outer(p + j, padded_rank(q.r), q.at(j, c), q.stride(), n,
               last ? outer_panel{out.to, out.stride, out.rows, out.use, before}
                    : outer_panel{room, panel_cols, out.rows, outer_use::store, before});
    before = room;
  }
}

/// A product that has not been taken from a matrix yet.
struct owed_product {
  float const* P = nullptr;
  vectors<float const> q{};
};

/// P = m Q, or P = (a = m + e) Q if a is not null; e less what is owed of it, if there is such a thing.
struct multiply_task {
  float const* m;
  float const* e;
  float* a;
  bool stream;
  std::size_t rows;
  vectors<float const> q;
  float* P;
  isa how;
  owed_product owed{};
};

/// The last columns of a panel: whole lanes, filled up with zeros.
inline bool dot_tail(low_rank_functions const& f, open_panel const& in, float const* q, std::size_t q_stride,
                     std::size_t width, float* sum) noexcept {
  float room[open_rows * vector_lanes];
  bool finite = true;
  for (std::size_t row = 0; row < in.rows && in.a; ++row) {
    auto const line = in.from(row, 0);
    finite &= sum_portable(line.m, line.e, width, line.a);
  }
  copy_tails(in.a ? in.a : in.m, in.stride, in.rows, width, room);
  f.dot({room, nullptr, nullptr, vector_lanes, in.rows, false}, q, q_stride, 1, sum);
  return finite;
}

/// One panel of at most open_rows rows, all columns of Q.
inline bool dot_panel(multiply_task const& t, open_panel in, std::size_t c, std::size_t width, float* sum) noexcept {
  auto const whole = width / vector_lanes * vector_lanes;
  bool finite = true;
  for (std::size_t j = 0; j < t.q.r; j += 8) {
    auto const group = group_width(t.q.r, j);
    auto const f = low_rank_for(t.how, group);
    finite &= f.dot(in, t.q.at(j, c), t.q.stride(), whole / vector_lanes, sum);
    if (width != whole) {
      auto tail = in.from(0, whole);
      if (in.owed.p) tail.e = in.tail, tail.e_stride = panel_cols, tail.owed = {};
      finite &= dot_tail(f, tail, t.q.at(j, c + whole), t.q.stride(), width - whole, sum);
    }
    sum += in.rows * group * vector_lanes;
    if (in.a) in = {in.a, nullptr, nullptr, in.stride, in.rows, false};  // the next vectors read the sums
  }
  return finite;
}

/// Lets the panel read e less what is owed: `settled`, from where on the instruction set does not do so by itself.
inline void settle_panel(multiply_task const& t, float const* p, std::size_t c, std::size_t n, float* settled,
                         open_panel& panel) noexcept {
  auto const r = t.owed.q.r, by_itself = n / vector_lanes * vector_lanes;
  bool const whole = r <= 8 && low_rank_for(t.how, group_width(r, 0)).settles;
  auto const from = whole ? by_itself : 0;
  for (std::size_t row = 0; row < panel.rows; ++row) {
    float const* const e = panel.e + row * panel.e_stride;
    std::memcpy(settled + row * panel_cols + from, e + from, (n - from) * sizeof(float));
  }
  if (from < n)
    outer_vectors(t.how, p, t.owed.q, c + from, n - from,
                  {settled + from, panel_cols, panel.rows, outer_use::subtract, nullptr});
  if (whole) {
    panel.owed = {p, padded_rank(r), t.owed.q.at(0, c), t.owed.q.stride()};
    panel.tail = settled + from;
  } else {
    panel.e = settled, panel.e_stride = panel_cols;
  }
}

inline bool multiply_rows(multiply_task const& t, std::size_t from, std::size_t end) noexcept {
  alignas(64) float sum[open_rows * 32 * vector_lanes];
  alignas(64) float settled[open_rows * panel_cols];
  float owed[open_rows * 32];
  auto const cols = t.q.cols, r = t.q.r, panel_width = panel_for(t.how);
  bool finite = true;
  for (auto i = from; i < end; i += open_rows) {
    open_panel const in = open_panel{t.m, t.e, t.a, cols, t.rows, t.stream}.from(i, 0);
    auto const count = std::min(open_rows, end - i);
    std::memset(sum, 0, count * padded_rank(r) * vector_lanes * sizeof(float));
    if (t.owed.P) copy_rows(t.owed.P + i * t.owed.q.r, t.owed.q.r, count, 0, padded_rank(t.owed.q.r), owed);
    for (std::size_t c = 0; c < cols; c += panel_width) {
      auto panel = in.from(0, c);
      auto const n = std::min(panel_width, cols - c);
      panel.rows = count;
      if (t.owed.P) settle_panel(t, owed, c, n, settled, panel);
      finite &= dot_panel(t, panel, c, n, sum);
    }
    float const* lane = sum;
    for (std::size_t j = 0; j < r; j += 8)
      for (std::size_t row = 0; row < count; ++row)
        for (std::size_t k = 0; k < group_width(r, j); ++k, lane += vector_lanes)
          if (j + k < r) t.P[(i + row) * r + j + k] = sum_of_lanes(lane);
  }
  end_streaming(t.stream);
  return finite;
}

/// Q = M^T P by ranges of rows and segments of columns.
struct transposed_task {
  float const* M;
  std::size_t rows, cols;
  float const* P;
  std::size_t r;
  float* partial;
  float* Q;
  isa how;

  [[nodiscard]] row_ranges ranges() const noexcept { return {rows}; }
  [[nodiscard]] std::size_t segments() const noexcept { return (cols + 8191) / 8192; }
  [[nodiscard]] std::size_t segment_begin(std::size_t s) const noexcept {
    auto const vectors_of_lanes = (cols + vector_lanes - 1) / vector_lanes;
    return std::min(cols, vectors_of_lanes * s / segments() * vector_lanes);
  }
  [[nodiscard]] vectors<float> partial_of(std::size_t range) const noexcept {
    return {partial + range * vectors_size(cols, r), cols, r};
  }
};

inline void transposed_segment(transposed_task const& t, std::size_t range, std::size_t segment) noexcept {
  float p[open_rows_transposed * 8], tails[open_rows_transposed * vector_lanes];
  auto const from = range * t.ranges().grain(), end = std::min(t.rows, from + t.ranges().grain());
  auto const first = t.segment_begin(segment), last = t.segment_begin(segment + 1);
  auto const to = t.partial_of(range);
  for (std::size_t j = 0; j < padded_rank(t.r); ++j)
    std::fill(to.at(j, first), to.at(j, (last + vector_lanes - 1) / vector_lanes * vector_lanes), 0.f);
  // Up to eight vectors stream through the segment; more of them take turns at panels.
  auto const panel = t.r <= 8 ? last - first : panel_cols;
  for (auto i = from; i < end; i += open_rows_transposed) {
    auto const count = std::min(open_rows_transposed, end - i);
    for (auto c = first; c < last; c += panel) {
      auto const width = std::min(panel, last - c), whole = width / vector_lanes * vector_lanes;
      float const* const m = t.M + i * t.cols + c;
      if (width != whole) copy_tails(m + whole, t.cols, count, width - whole, tails);
      for (std::size_t j = 0; j < t.r; j += 8) {
        auto const group = group_width(t.r, j);
        auto* const add = low_rank_for(t.how, group).transposed;
        copy_rows(t.P + i * t.r, t.r, count, j, group, p);
        if (whole) add(m, t.cols, count, p, to.at(j, c), to.stride(), whole / vector_lanes);
        if (width != whole) add(tails, vector_lanes, count, p, to.at(j, c + whole), to.stride(), 1);
      }
    }
  }
}

inline void combine_ranges(transposed_task const& t, std::size_t from, std::size_t end) noexcept {
  auto const count = t.ranges().count();
  for (auto c = from; c < end; c += vector_lanes)
    for (std::size_t j = 0; j < t.r; ++j) {
      float lane[vector_lanes];
      std::memcpy(lane, t.partial_of(0).at(j, c), sizeof lane);
      for (std::size_t s = 1; s < count; ++s) {
        float const* const more = t.partial_of(s).at(j, c);
        for (std::size_t l = 0; l < vector_lanes; ++l) lane[l] += more[l];
      }
      for (std::size_t l = 0; l < std::min(vector_lanes, end - c); ++l) t.Q[(c + l) * t.r + j] = lane[l];
    }
}

/// out = P mean^T unless out is null, M -= P own^T unless M is null.
struct outer_task {
  float const* P;
  std::size_t rows;
  vectors<float const> mean, own;
  float* out;
  float* M;
  bool stream;
  isa how;
};

inline void outer_rows(outer_task const& t, std::size_t from, std::size_t end) noexcept {
  float p[open_rows * 32];
  auto const cols = t.mean.cols, r = t.mean.r, panel_width = panel_for(t.how);
  auto const use = t.stream ? outer_use::stream : outer_use::store;
  for (auto i = from; i < end; i += open_rows) {
    auto const count = std::min(open_rows, end - i);
    copy_rows(t.P + i * r, r, count, 0, padded_rank(r), p);
    for (std::size_t c = 0; c < cols; c += panel_width) {
      auto const n = std::min(panel_width, cols - c), at = i * cols + c;
      if (t.out) outer_vectors(t.how, p, t.mean, c, n, {t.out + at, cols, count, use, nullptr});
      if (t.M) outer_vectors(t.how, p, t.own, c, n, {t.M + at, cols, count, outer_use::subtract, nullptr});
    }
  }
  end_streaming(t.stream);
}

}  // namespace gradpress::kernel::detail
