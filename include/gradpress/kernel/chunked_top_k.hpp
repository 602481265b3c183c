// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exact top-k by magnitude inside every chunk of an array: each chunk is settled while it lies in the cache.
///
/// A chunk is cut into more groups than entries are wanted. The k-th largest of the groups' maxima is a bound that at
/// least k entries reach, whatever the data are, so that little more than k entries need ordering.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/forming.hpp>
#include <gradpress/kernel/kth.hpp>
#include <gradpress/kernel/launch.hpp>

#include <atomic>
#include <functional>

namespace gradpress::kernel {

/// n elements in chunks of which all but the last are full; k entries are kept of a full one, last_k of a shorter one.
struct chunks_of_k {
  std::size_t n, chunk, k, last_k;

  [[nodiscard]] constexpr std::size_t kept() const noexcept { return n / chunk * k + (n % chunk == 0 ? 0 : last_k); }
};

namespace detail {

/// Four groups an entry: their bound lets through about 1.15 k entries of data without order.
[[nodiscard]] constexpr std::size_t maxima_groups(std::size_t k) noexcept { return (4 * k + 15) / 16 * 16; }
[[nodiscard]] constexpr std::size_t chunk_candidates(std::size_t k) noexcept { return 2 * k + 64; }
[[nodiscard]] constexpr std::size_t chunk_words(std::size_t k) noexcept {
  return maxima_groups(k) + 2 * chunk_candidates(k);
}
/// Chunks are handed out by the range, so that short ones do not cost a launch each.
[[nodiscard]] constexpr std::size_t chunk_range(std::size_t chunk) noexcept {
  return std::max<std::size_t>(1, line_chunks::grain / chunk) * chunk;
}

/// top[j] = the largest magnitude of x[j], x[j + groups], x[j + 2 groups] ... Needs groups <= n, a multiple of 16.
[[gnu::always_inline]] inline void take_maxima(float const* x, std::size_t n, std::size_t groups,
                                               std::uint32_t* top) noexcept {
  auto const larger = [&](std::size_t i, std::size_t j) {
    auto const m = static_cast<std::int32_t>(magnitude(x[i])), t = static_cast<std::int32_t>(top[j]);
    top[j] = static_cast<std::uint32_t>(m > t ? m : t);  // signed: SSE2 compares no others
  };
  std::memset(top, 0, groups * sizeof(std::uint32_t));
  std::size_t row = 0;
  for (; row + groups <= n; row += groups)
    for (std::size_t j = 0; j < groups; j += 16)
      for (std::size_t l = 0; l < 16; ++l) larger(row + j + l, j + l);
  for (auto i = row; i < n; ++i) larger(i, i - row);
}
#if GRADPRESS_X86
GRADPRESS_AVX2 inline void take_maxima_avx2(float const* x, std::size_t n, std::size_t groups,
                                            std::uint32_t* top) noexcept {
  take_maxima(x, n, groups, top);
}
GRADPRESS_AVX512 inline void take_maxima_avx512(float const* x, std::size_t n, std::size_t groups,
                                                std::uint32_t* top) noexcept {
  take_maxima(x, n, groups, top);
}
#endif

/// Chunk after chunk: writes the positions, from `first`, and the values of the k largest entries of x[0 .. n).
class chunk_run {
  isa how_;
  std::uint32_t* work_;
  float const* x_ = nullptr;
  std::size_t n_ = 0, k_ = 0, hits_ = 0;
  std::uint32_t last_ = 0;  ///< the k-th magnitude of the chunk before: where to look first

 public:
  chunk_run(isa how, std::uint32_t* work) noexcept : how_(how), work_(work) {}

  /// The largest magnitude is among the kept ones: false if it is not finite.
  bool operator()(float const* x, std::size_t n, std::size_t k, std::size_t first, index_t* indices, float* values) {
    x_ = x, n_ = n, k_ = k;
    if (k_ == n_ || 2 * maxima_groups(k_) > n_)
      search(indices);
    else
      choose(indices);
    std::uint32_t largest = 0;
    for (std::size_t j = 0; j < k_; ++j) {
      values[j] = x_[indices[j]];
      largest = std::max(largest, magnitude(values[j]));
      indices[j] += static_cast<index_t>(first);
    }
    return largest < not_finite;
  }

 private:
  /// The k-th largest of m[0 .. count), and how many of those equal to it belong to the k.
  [[nodiscard]] kth_magnitude order(std::uint32_t* m, std::size_t count) const {
    std::nth_element(m, m + (k_ - 1), m + count, std::greater<>());
    auto const value = m[k_ - 1];
    auto const above = std::count_if(m, m + k_, [value](std::uint32_t v) { return v > value; });
    return {value, k_ - static_cast<std::size_t>(above), 0};
  }
  template <class Position>
  void write(kth_magnitude kth, Position const& position, index_t* out) const {
    for (std::size_t j = 0, left = k_; left > 0; ++j) {
      auto const i = position(j);
      auto const m = magnitude(x_[i]);
      if (m < kth.value || (m == kth.value && kth.ties == 0)) continue;
      kth.ties -= m == kth.value;
      *out++ = static_cast<index_t>(i);
      --left;
    }
  }

  [[nodiscard]] index_t* candidates() const noexcept { return work_ + maxima_groups(k_); }
  /// Lists what reaches `low` and counts it in hits_; false if there is no room.
  bool collect(std::uint32_t low) {
    hits_ = 0;
    for (std::size_t from = 0; from < n_; from += line_chunks::grain) {
      chunk_mask mask;
      auto const hits = mark_above(how_, {x_}, from, std::min(n_, from + line_chunks::grain), low, mask);
      if (hits_ + hits > chunk_candidates(k_)) return false;
      list_marked(how_, mask, from, hits, candidates() + hits_);
      hits_ += hits;
    }
    return true;
  }
  /// What at least k entries reach, but zeros are never worth collecting.
  [[nodiscard]] std::uint32_t bound() const {
    auto const groups = maxima_groups(k_);
#if GRADPRESS_X86
    if (how_ == isa::avx512)
      take_maxima_avx512(x_, n_, groups, work_);
    else if (how_ == isa::avx2)
      take_maxima_avx2(x_, n_, groups, work_);
    else
#endif
      take_maxima(x_, n_, groups, work_);
    return std::clamp(order(work_, groups).value, 1u, not_finite);
  }
  /// Among the entries that reach a bound: an eighth or so below that of the chunk before, if that will do.
  void choose(index_t* out) {
    constexpr std::uint32_t eighth = 1u << 20;
    if (last_ <= eighth || last_ >= not_finite || !collect(last_ - eighth) || hits_ < k_)
      if (!collect(bound())) return search(out);  // many are equal
    if (hits_ < k_)
      return write(
          {0, k_ - hits_, 0}, [](std::size_t i) { return i; }, out);
    auto const* const at = candidates();
    auto* const m = candidates() + chunk_candidates(k_);
    for (std::size_t j = 0; j < hits_; ++j) m[j] = magnitude(x_[at[j]]);
    auto const kth = order(m, hits_);
    last_ = kth.value;
    write(
        kth, [at](std::size_t j) { return at[j]; }, out);
  }
  /// The whole chunk: where much of it is kept, and where magnitudes repeat.
  void search(index_t* out) const {
    std::uint32_t words[kth_words_serial];
    kth_magnitude kth{0, n_, n_};
    if (k_ < n_ && n_ <= kth_words_serial / 2) {
      for (std::size_t i = 0; i < n_; ++i) words[i] = magnitude(x_[i]);
      kth = order(words, n_);
    } else if (k_ < n_) {
      kth = find_kth(x_, n_, k_, words);
    }
    write(
        kth, [](std::size_t i) { return i; }, out);
  }
};

}  // namespace detail

/// Words of workspace that `chunked_top_k` and `chunked_top_k_sum` need.
[[nodiscard]] constexpr std::size_t chunked_top_k_words(chunks_of_k const& c) noexcept {
  auto const range = detail::chunk_range(c.chunk);
  return (c.n + range - 1) / range * detail::chunk_words(std::max(c.k, c.last_k));
}

/// top-k of every chunk of a, each of which make(from, to) writes just before it is looked at.
///
/// - Shape   indices, values: c.kept(). work: chunked_top_k_words(c). Chunks of up to 65536 elements; 1 <= k <= chunk,
///           the same for the last.
/// - Order   by (|x| descending, index ascending) for membership; the indices ascend. Always the same ones.
/// - Cost    one pass over memory as long as a chunk fits the second cache, two over the chunk; where magnitudes repeat
///           or most entries are kept, up to 5 over the chunk, one element at a time.
/// - Edges   returns false if an entry is NaN or infinite; the outputs are then unspecified, a is complete.
template <class Exec, class Make>
bool chunked_top_k_made(Exec const& exec, Make const& make, float const* a, chunks_of_k const& c, std::uint32_t* work,
                        index_t* indices, float* values) {
  auto const how = current_isa();
  auto const range = detail::chunk_range(c.chunk), words = detail::chunk_words(std::max(c.k, c.last_k));
  std::atomic<bool> finite{true};
  for_ranges(exec, "gradpress::kernel::chunked_top_k", c.n, range, [&](std::size_t begin, std::size_t end) {
    detail::chunk_run run(how, work + begin / range * words);
    for (auto from = begin; from < end; from += c.chunk) {
      auto const to = std::min(end, from + c.chunk), at = from / c.chunk * c.k;
      make(from, to);
      auto const k = to - from == c.chunk ? c.k : c.last_k;
      if (!run(a + from, to - from, k, from, indices + at, values + at)) finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite.load();
}
/// The same of x.
template <class Exec>
bool chunked_top_k(Exec const& exec, float const* x, chunks_of_k const& c, std::uint32_t* work, index_t* indices,
                   float* values) {
  return chunked_top_k_made(
      exec, [](std::size_t, std::size_t) {}, x, c, work, indices, values);
}
/// The same of the sum a = g + e, which is formed in the same pass. a may be g or e.
template <class Exec>
bool chunked_top_k_sum(Exec const& exec, float const* g, float const* e, float* a, chunks_of_k const& c,
                       std::uint32_t* work, index_t* indices, float* values) {
  auto const how = current_isa();
  auto const make = [&](std::size_t from, std::size_t to) {
    detail::dense_chunk<detail::dense_op::add>(how, {g, e, 0.f, a}, from, to);
  };
  return chunked_top_k_made(exec, make, a, c, work, indices, values);
}
/// The same of a signal that `form` makes in the same pass.
template <class Exec>
bool chunked_top_k_formed(Exec const& exec, forming const& form, float* a, chunks_of_k const& c, std::uint32_t* work,
                          index_t* indices, float* values) {
  auto const make = [&](std::size_t from, std::size_t to) { detail::form_range(form, from, to, a, false); };
  return chunked_top_k_made(exec, make, a, c, work, indices, values);
}

GRADPRESS_ONCE(chunked_top_k_sum);
GRADPRESS_ONCE(chunked_top_k);
GRADPRESS_ONCE(chunked_top_k_formed);

}  // namespace gradpress::kernel
