// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exact top-k by magnitude in one pass over memory: a sample guesses a threshold that surely keeps a little more than
/// k, the pass collects what reaches it, and an exact selection on those candidates does the rest.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/forming.hpp>
#include <gradpress/kernel/kth.hpp>
#include <gradpress/kernel/launch.hpp>

#include <atomic>
#include <cmath>

namespace gradpress::kernel {

namespace detail {

/// Up to here every entry is a candidate and nothing is sampled.
inline constexpr std::size_t sample_from = 16384;
/// How many elements are sampled, in lines of 16.
[[nodiscard]] constexpr std::size_t sample_size(std::size_t n) noexcept {
  return std::clamp<std::size_t>(n / 128 / 16 * 16, 4096, 65536);
}
[[nodiscard]] constexpr std::size_t root(std::size_t v) noexcept {
  std::size_t r = 0;
  for (std::size_t bit = std::size_t{1} << 31; bit != 0; bit /= 2)
    if ((r + bit) * (r + bit) <= v) r += bit;
  return r;
}
/// Room for candidates: the expected excess over k is about 4 deviations of the sample; this is four times that.
[[nodiscard]] constexpr std::size_t candidate_room(std::size_t n, std::size_t k) noexcept {
  if (n <= sample_from) return n;
  auto const each = n / sample_size(n) + 1;
  return std::min(n, k + k / 2 + 16 * root(k * each) + 64 * each + 4096);
}

/// Sampled magnitudes are counted by their upper 15 bits: 1 % in value.
inline constexpr std::size_t sample_bins = 32768;
inline constexpr unsigned sample_shift = 16;

/// The entries that one chunk contributes, as a range of positions; how many of them are above and level with the k-th
/// magnitude; where its part of the output begins and how many of the level ones it holds.
struct chunk_share {
  index_t first, count, above, level, to, ties;
  [[nodiscard]] index_t taken() const noexcept { return above + ties; }
};

/// The workspace, cut up. All parts need the alignment of a 32-bit word only.
struct top_k_parts {
  chunk_share* shares;
  std::uint32_t* bins;
  index_t* pool_index;
  float* pool_value;

  static constexpr std::size_t bin_words = std::max(kth_words, sample_bins);
  top_k_parts(std::byte* work, std::size_t n, std::size_t k) noexcept
      : shares(reinterpret_cast<chunk_share*>(work)),
        bins(reinterpret_cast<std::uint32_t*>(shares + line_chunks::bound(n))),
        pool_index(bins + bin_words),
        pool_value(reinterpret_cast<float*>(pool_index + candidate_room(n, k))) {}
};

/// Where to look for the k-th magnitude: at least k entries should reach `low` and fewer than k `high`.
struct magnitude_range {
  std::uint32_t low, high;
};

/// What is ranked: what can be marked, or a signal that is made in the same pass and goes to `sum` piece by piece.
struct ranked_input : marked_input {
  forming const* form = nullptr;

  /// Element by element, up to 16 of them, before the pass.
  void sample(std::size_t from, std::size_t to, float* out) const {
    if (form != nullptr) return (*form)(from, to, out);
    for (auto i = from; i < to; ++i) *out++ = e == nullptr ? x[i] : x[i] + e[i];
  }
  [[nodiscard]] marked_input marked() const noexcept { return *this; }
  [[nodiscard]] float const* written() const noexcept { return sum == nullptr ? x : sum; }
};

/// The entries of a chunk that reached the threshold, noted while they were made. More than there is room for are counted
/// only.
struct noted_entries {
  static constexpr std::size_t room = line_chunks::grain / 8;
  std::size_t count = 0;
  index_t index[room];
  float value[room];
};

/// Reads the sample, one line of each of equal parts of the input, the place in it fixed by a hash of its number:
/// counts magnitudes from `low` in bins of 2^shift, and returns the last bin in use.
inline std::size_t count_sample(ranked_input const& in, std::size_t n, std::uint32_t low, unsigned shift,
                                std::uint32_t* bins) noexcept {
  auto const lines = sample_size(n) / 16;
  auto const part = n / lines;
  std::fill_n(bins, sample_bins, 0u);
  std::uint32_t last = 0;
  for (std::size_t l = 0; l < lines; ++l) {
    auto const hash = static_cast<std::uint32_t>(l * 0x9E3779B97F4A7C15u >> 32);
    auto const at = l * part + static_cast<std::size_t>(std::uint64_t{hash} * (part - 15) >> 32);
    float line[16];
    in.sample(at, at + 16, line);
    for (auto const v : line) {
      auto const bin = (magnitude(v) - low) >> shift;
      if (bin >= sample_bins) continue;
      last = std::max(last, bin);
      ++bins[bin];
    }
  }
  return last;
}

/// Returns the range in which the k-th magnitude lies but for `wide` times 4 deviations of the sample.
inline magnitude_range sample_range(ranked_input const& in, std::size_t n, std::size_t k, double wide,
                                    std::uint32_t* bins) noexcept {
  auto const whole_groups = sample_size(n) / 16 * 16;
  auto const sampled = static_cast<double>(whole_groups);
  auto const expected = static_cast<double>(k) / static_cast<double>(n) * sampled;
  auto const spread = wide * (4 * std::sqrt(expected) + 4);
  magnitude_range range{0, 0x80000000u};
  auto bin = count_sample(in, n, 0, sample_shift, bins);
  double above = 0;
  for (; bin > 0 && above + bins[bin] <= expected + spread; above += bins[bin--])
    if (above + bins[bin] <= expected - spread) range.high = static_cast<std::uint32_t>(bin) << sample_shift;
  range.low = static_cast<std::uint32_t>(bin) << sample_shift;
  if (bins[bin] > expected / 4 + spread) {  // values lie close together: the bin itself needs looking into
    bin = count_sample(in, n, range.low, 1, bins);
    for (; bin > 0 && above + bins[bin] <= expected + spread; --bin) above += bins[bin];
    range.low += 2 * static_cast<std::uint32_t>(bin);
  }
  // Zeros are never worth collecting: if fewer than k entries are not zero, the k-th is zero.
  range.low = std::clamp(range.low, 1u, not_finite);
  range.high = std::max(range.high, range.low + (1u << sample_shift));
  return range;
}

/// One top-k under way.
template <class Exec>
class top_k_run {
  Exec const& exec_;
  ranked_input in_;
  std::size_t n_, k_, room_;
  line_chunks chunks_;
  top_k_parts parts_;
  isa how_ = current_isa();
  std::size_t collected_ = 0;

 public:
  top_k_run(Exec const& exec, ranked_input in, std::size_t n, std::size_t k, std::byte* work)
      : exec_(exec), in_(in), n_(n), k_(k), room_(candidate_room(n, k)), chunks_(in.written(), n), parts_(work, n, k) {}

  bool operator()(index_t* indices, float* values) {
    if (k_ == 0 || k_ == n_) {
      if (!collect(not_finite)) return false;
      if (k_ == n_) copy_all(indices, values);
      return true;
    }
    auto range = n_ <= sample_from ? magnitude_range{0, 0x80000000u} : sample_range(in_, n_, k_, 1, parts_.bins);
    if (!collect(range.low)) return false;
    if (collected_ < k_ && range.low > 1) {  // the sample was misled: look again, much lower
      range = sample_range(in_, n_, k_, 8, parts_.bins);
      collect(range.low);
    }
    if (k_ <= collected_ && collected_ <= room_)
      choose(range, indices, values);
    else
      search(range, indices, values);
    return true;
  }

 private:
  template <class F>
  void each_chunk(char const* label, F const& f) const {
    for_chunks(exec_, label, chunks_.count(), [&](std::size_t c) { f(c, parts_.shares[c]); });
  }

  /// One pass: counts what reaches `low`, and keeps it while there is room; false if something is not finite.
  /// Afterwards a signal is an input like any other.
  bool collect(std::uint32_t low) {
    std::atomic<std::size_t> used{0};
    std::atomic<bool> finite{true};
    each_chunk("gradpress::kernel::top_k::collect", [&](std::size_t c, chunk_share& share) {
      if (!collect_chunk(c, share, low, used)) finite.store(false, std::memory_order_relaxed);
    });
    collected_ = used.load();
    in_ = {{in_.written()}};
    return finite.load();
  }
  bool collect_chunk(std::size_t c, chunk_share& share, std::uint32_t low, std::atomic<std::size_t>& used) const {
    auto const begin = chunks_.begin(c), end = chunks_.end(c);
    noted_entries noted;
    if (in_.form != nullptr) make_chunk(begin, end, low, noted);
    bool const made = in_.form != nullptr, all_noted = made && noted.count <= noted.room;
    marked_input const now = made ? marked_input{in_.sum} : in_.marked();
    chunk_mask mask;
    auto const hits = all_noted ? noted.count : mark_above(how_, now, begin, end, low, mask);
    auto const first = used.fetch_add(hits, std::memory_order_relaxed);
    share.first = static_cast<index_t>(first);
    share.count = static_cast<index_t>(hits);
    if (first + hits > room_) return mark_above(how_, {in_.written()}, begin, end, not_finite, mask) == 0;
    auto* index = parts_.pool_index + first;
    auto* value = parts_.pool_value + first;
    if (all_noted) {
      std::copy_n(noted.index, hits, index);
      std::copy_n(noted.value, hits, value);
    } else {
      list_marked(how_, mask, begin, hits, index);
      for (std::size_t j = 0; j < hits; ++j) value[j] = value_at(index[j]);
    }
    std::uint32_t largest = 0;
    for (std::size_t j = 0; j < hits; ++j) largest = std::max(largest, magnitude(value[j]));
    return largest < not_finite;
  }
  /// A streamed sum has left the cache, its terms have not.
  [[nodiscard]] float value_at(std::size_t i) const noexcept {
    return in_.e != nullptr && in_.streaming ? in_.x[i] + in_.e[i] : in_.written()[i];
  }
  /// Makes elements [begin, end) of the signal, and notes what reaches `low`.
  void make_chunk(std::size_t begin, std::size_t end, std::uint32_t low, noted_entries& noted) const {
    alignas(64) float piece[forming::piece];
    for (auto from = begin; from < end; from += forming::piece) {
      auto const n = std::min(forming::piece, end - from);
      (*in_.form)(from, from + n, piece);
      marks<forming::piece> mask;
      auto const hits = mark_above(how_, {piece}, 0, n, low, mask);
      if (hits > 0 && noted.count + hits <= noted.room) {
        auto* const index = noted.index + noted.count;
        list_marked(how_, mask, from, hits, index);
        for (std::size_t j = 0; j < hits; ++j) noted.value[noted.count + j] = piece[index[j] - from];
      }
      noted.count += hits;
      put_piece(piece, n, in_.sum + from, in_.streaming);
    }
    end_streaming(true);
  }

  void copy_all(index_t* indices, float* values) const {
    each_chunk("gradpress::kernel::top_k::copy", [&](std::size_t c, chunk_share const&) {
      for (auto i = chunks_.begin(c); i < chunks_.end(c); ++i) {
        indices[i] = static_cast<index_t>(i);
        values[i] = in_.x[i];
      }
    });
  }

  /// The candidates are k or more and all in the pool: everything else happens there.
  void choose(magnitude_range range, index_t* indices, float* values) const {
    auto const* pool = parts_.pool_value;
    write(find_kth(exec_, pool, collected_, k_, collected_, range.low, range.high, parts_.bins), pool, indices, values);
    for_ranges(exec_, "gradpress::kernel::top_k::name", k_, line_chunks::grain,
               [&](std::size_t begin, std::size_t end) {
                 for (auto j = begin; j < end; ++j) indices[j] = parts_.pool_index[indices[j]];
               });
  }
  /// Too few candidates or too many (long runs of equal magnitudes, or a sample that was misled twice): the k-th
  /// magnitude by histograms over the whole input, which then counts as one big pool.
  void search(magnitude_range range, index_t* indices, float* values) const {
    auto const* x = in_.x;
    auto const kth = collected_ >= k_ ? find_kth(exec_, x, n_, k_, collected_, range.low, range.high, parts_.bins)
                     : range.low == 1 ? kth_magnitude{0, k_ - collected_, n_ - collected_}
                                      : find_kth(exec_, x, n_, k_, n_, 0, range.low, parts_.bins);
    for (std::size_t c = 0; c < chunks_.count(); ++c) {
      parts_.shares[c].first = static_cast<index_t>(chunks_.begin(c));
      parts_.shares[c].count = static_cast<index_t>(chunks_.end(c) - chunks_.begin(c));
    }
    write(kth, x, indices, values);
  }

  /// Takes the k entries out of the shares, whose positions refer to `from`: positions and values.
  void write(kth_magnitude kth, float const* from, index_t* positions, float* values) const {
    each_chunk("gradpress::kernel::top_k::count", [&](std::size_t, chunk_share& share) {
      chunk_mask mask;
      std::size_t const begin = share.first, end = begin + share.count;
      share.above = static_cast<index_t>(mark_above(how_, {from}, begin, end, kth.value + 1, mask));
      share.level = static_cast<index_t>(mark_above(how_, {from}, begin, end, kth.value, mask)) - share.above;
    });
    deal(kth.ties);
    each_chunk("gradpress::kernel::top_k::write", [&](std::size_t, chunk_share const& share) {
      if (share.taken() == 0) return;
      write_share(share, kth.value, from, positions + share.to);
      for (std::size_t j = share.to; j < share.to + share.taken(); ++j) values[j] = from[positions[j]];
    });
  }
  void write_share(chunk_share const& share, std::uint32_t kth, float const* from, index_t* out) const {
    std::size_t const begin = share.first, end = begin + share.count;
    if (share.ties == 0 || share.ties == share.level) {
      chunk_mask mask;
      auto const lowest = kth + static_cast<std::uint32_t>(share.ties == 0);
      list_marked(how_, mask, begin, mark_above(how_, {from}, begin, end, lowest, mask), out);
      return;
    }
    auto ties = share.ties;
    for (std::size_t i = begin, left = share.taken(); left > 0; ++i) {
      auto const m = magnitude(from[i]);
      if (m < kth || (m == kth && ties == 0)) continue;
      ties -= m == kth;
      *out++ = static_cast<index_t>(i);
      --left;
    }
  }

  /// The first chunks get the ties; each learns where to write.
  void deal(std::size_t ties) const noexcept {
    index_t to = 0;
    for (std::size_t c = 0; c < chunks_.count(); ++c) {
      auto& share = parts_.shares[c];
      share.to = to;
      share.ties = static_cast<index_t>(std::min<std::size_t>(ties, share.level));
      ties -= share.ties;
      to += share.taken();
    }
  }
};

}  // namespace detail

/// Bytes of workspace that `top_k` and `top_k_sum` need: the candidates, about 1.5 k and a margin, 8 bytes each.
[[nodiscard]] constexpr std::size_t top_k_workspace(std::size_t n, std::size_t k) noexcept {
  return line_chunks::bound(n) * sizeof(detail::chunk_share) + detail::top_k_parts::bin_words * sizeof(std::uint32_t) +
         detail::candidate_room(n, k) * (sizeof(index_t) + sizeof(float));
}

/// The k entries of x that are largest in magnitude, exactly and always the same ones.
///
/// - Shape   x: n < 2^32 values, 0 <= k <= n. indices, values: k. work: top_k_workspace(n, k) bytes, aligned like a
///           float.
/// - Order   by (|x| descending, index ascending) for membership; the indices ascend, values[j] has the bits of
///           x[indices[j]].
/// - Cost    one pass over x, 4 bytes of traffic an element, and work in proportion to k; up to about 8 passes where
///           magnitudes repeat (all equal, say), never more.
/// - Edges   returns false if an entry is NaN or infinite, wherever it is and also for k = 0; the outputs are then
///           unspecified. Denormals and zeros are ordered like all others, -0 equals 0.
/// - Source  ours; the idea of a sampled threshold is that of Lin et al., Deep Gradient Compression, ICLR 2018, section
///           3, where the selection is approximate; here the sample only decides how much is looked at twice.
template <class Exec>
bool top_k(Exec const& exec, float const* x, std::size_t n, std::size_t k, std::byte* work, index_t* indices,
           float* values) {
  return detail::top_k_run<Exec>(exec, {{x}}, n, k, work)(indices, values);
}

/// top_k of the sum a = g + e, which is formed in the same pass: 12 bytes of traffic an element.
///
/// `a` is complete afterwards, kept entries included, also where false is returned. It may be g or e itself, but must
/// not overlap them otherwise.
template <class Exec>
bool top_k_sum(Exec const& exec, float const* g, float const* e, float* a, std::size_t n, std::size_t k,
               std::byte* work, index_t* indices, float* values) {
  bool const streaming = n >= detail::streaming_from && a != g && a != e;
  return detail::top_k_run<Exec>(exec, {{g, e, a, streaming}}, n, k, work)(indices, values);
}

/// top_k of any signal, which `form` makes in the same pass: the traffic of that, and 4 bytes an element to write it to
/// `a`, complete afterwards in every case. `a` overlaps nothing that `form` reads or writes. A few elements are made twice.
template <class Exec>
bool top_k_formed(Exec const& exec, forming const& form, float* a, std::size_t n, std::size_t k, std::byte* work,
                  index_t* indices, float* values) {
  return detail::top_k_run<Exec>(exec, {{nullptr, nullptr, a, n >= detail::streaming_from}, &form}, n, k, work)(indices,
                                                                                                                values);
}

GRADPRESS_ONCE(top_k);
GRADPRESS_ONCE(top_k_formed);
GRADPRESS_ONCE(top_k_sum);

}  // namespace gradpress::kernel
