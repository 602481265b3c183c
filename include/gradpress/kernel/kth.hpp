// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The k-th largest magnitude of an array, exactly: a radix descent by histograms that starts from a guessed range.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/launch.hpp>

namespace gradpress::kernel {

/// The k largest magnitudes are: everything above `value`, and the first `ties` of the `level` entries equal to it.
struct kth_magnitude {
  std::uint32_t value;
  std::size_t ties;
  std::size_t level;
};

namespace detail {

inline constexpr std::size_t radix_bins = 2048;
/// The bins, and four more to throw what lies outside in, so that one counter is not the bottleneck.
inline constexpr std::size_t radix_slots = radix_bins + 4;
/// Parts of a long array that are counted in parallel, each into its own histogram.
inline constexpr std::size_t radix_parts = 16;
inline constexpr std::size_t radix_part_at_least = 16384;
/// Words of workspace for a histogram of every part, two interleaved ones each.
inline constexpr std::size_t radix_words = 2 * radix_parts * radix_slots;

/// Counts magnitudes in bins of 2^shift from `low`. Two histograms take turns: equal neighbours do not wait.
inline void count_magnitudes(float const* x, std::size_t n, std::uint32_t low, unsigned shift, std::uint32_t* bins) {
  auto* odd = bins + radix_slots;
  std::fill_n(bins, 2 * radix_slots, 0u);
  auto const bin = [&](std::size_t i, std::uint32_t outside) {
    return std::min((magnitude(x[i]) - low) >> shift, outside);
  };
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    ++bins[bin(i, radix_bins)], ++odd[bin(i + 1, radix_bins + 1)];
    ++bins[bin(i + 2, radix_bins + 2)], ++odd[bin(i + 3, radix_bins + 3)];
  }
  for (; i < n; ++i) ++bins[bin(i, radix_bins)];
  for (std::size_t b = 0; b < radix_slots; ++b) bins[b] += odd[b];
}

/// Smallest shift by which `width` values fit the bins.
[[nodiscard]] constexpr unsigned radix_shift(std::uint32_t width) noexcept {
  unsigned shift = 0;
  while ((width - 1) >> shift >= radix_bins) ++shift;
  return shift;
}

/// The descent. `count(low, shift)` fills the bins with the counts of the whole array, of which `total` entries are at
/// least `low`.
template <class Count>
kth_magnitude descend(std::size_t k, std::size_t total, std::uint32_t low, std::uint32_t high,
                      std::uint32_t const* bins, Count const& count) {
  auto shift = radix_shift(high - low);
  count(low, shift);
  auto above = total;
  for (std::size_t b = 0; b < radix_bins; ++b) above -= bins[b];
  if (above >= k) {  // the guess was too low
    low += static_cast<std::uint32_t>(radix_bins) << shift;
    shift = radix_shift(0x80000000u - low);
    count(low, shift);
    above = 0;
  }
  auto need = k - above;
  for (std::size_t bin = radix_bins - 1;;) {
    for (; bins[bin] < need; --bin) need -= bins[bin];
    low += static_cast<std::uint32_t>(bin) << shift;
    if (shift == 0) return {low, need, bins[bin]};
    // Only the bin that holds the k-th entry is looked into; bins past its width hold what has been counted already.
    auto const width = 1u << shift;
    shift = radix_shift(width);
    bin = ((width - 1) >> shift);
    count(low, shift);
  }
}

}  // namespace detail

/// Words of workspace for `find_kth`.
inline constexpr std::size_t kth_words = detail::radix_words;

/// The k-th largest magnitude of x[0 .. n), 1 <= k <= total, of which `total` entries are at least `low`.
///
/// The answer is exact for any [low, high); a range that holds it and is narrow saves passes (2 are usual, 4 the most).
template <class Exec>
kth_magnitude find_kth(Exec const& exec, float const* x, std::size_t n, std::size_t k, std::size_t total,
                       std::uint32_t low, std::uint32_t high, std::uint32_t* words) {
  auto const parts = std::clamp(n / detail::radix_part_at_least, std::size_t{1}, detail::radix_parts);
  return detail::descend(k, total, low, high, words, [&](std::uint32_t from, unsigned shift) {
    for_chunks(exec, "gradpress::kernel::find_kth", parts, [&](std::size_t p) {
      auto const begin = n * p / parts;
      detail::count_magnitudes(x + begin, n * (p + 1) / parts - begin, from, shift,
                               words + 2 * detail::radix_slots * p);
    });
    for (std::size_t p = 1; p < parts; ++p)
      for (std::size_t b = 0; b < detail::radix_bins; ++b) words[b] += words[2 * detail::radix_slots * p + b];
  });
}
/// The same on the calling thread; all of x counts. Needs kth_words_serial words.
inline constexpr std::size_t kth_words_serial = 2 * detail::radix_slots;
inline kth_magnitude find_kth(float const* x, std::size_t n, std::size_t k, std::uint32_t* words) {
  return detail::descend(k, n, 0, 0x80000000u, words, [&](std::uint32_t from, unsigned shift) {
    detail::count_magnitudes(x, n, from, shift, words);
  });
}

GRADPRESS_ONCE(find_kth);

}  // namespace gradpress::kernel
