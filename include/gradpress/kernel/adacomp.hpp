// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// AdaComp's selection: in every bin, what the newest gradient would soon lift above the bin's largest entry.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/types.hpp>
#include <gradpress/kernel/above.hpp>
#include <gradpress/kernel/blocks.hpp>

#include <cmath>

namespace gradpress::kernel {

/// What a chunk of whole bins adds: its entries, and the sum and number of its bins' maxima that are not 0.
struct adacomp_chunk {
  std::size_t kept = 0, bins = 0;
  double maxima = 0;
  bool finite = true;
};
[[nodiscard]] constexpr std::size_t adacomp_range(std::size_t bin) noexcept {
  return std::max<std::size_t>(1, line_chunks::grain / bin) * bin;
}
[[nodiscard]] constexpr std::size_t adacomp_chunks(std::size_t n, std::size_t bin) noexcept {
  return (n + adacomp_range(bin) - 1) / adacomp_range(bin);
}

namespace detail {

inline adacomp_chunk adacomp_bins(float const* a, float const* g, std::size_t begin, std::size_t end, std::size_t bin,
                                  index_t* kept) noexcept {
  adacomp_chunk c;
  for (auto from = begin; from < end; from += bin) {
    auto const to = std::min(end, from + bin);
    auto const top = top_magnitude(a + from, to - from);
    if (top == 0) continue;
    if (top >= not_finite) c.finite = false;
    c.maxima += static_cast<double>(std::bit_cast<float>(top));
    ++c.bins;
    for (auto i = from; i < to; ++i) {
      kept[c.kept] = static_cast<index_t>(i);
      c.kept +=
          static_cast<std::size_t>(magnitude(a[i] + g[i]) >= top) & static_cast<std::size_t>(magnitude(a[i]) != 0);
    }
  }
  return c;
}

}  // namespace detail

/// The entries with |a + g| >= max |a| of their bin and a not 0, and s, the mean of those maxima that are not 0, with
/// the sign of a.
///
/// - Shape   kept, values: room for n. chunks: adacomp_chunks(n, bin) entries.
/// - Order   indices ascend.
/// - Cost    one read of g and one of a, which lies in the cache for the second look as long as a bin does.
/// - Edges   bins of zeros give nothing. `finite` says that no entry of a is NaN or infinite; else nothing is kept.
/// Returns the number kept.
template <class Exec>
std::size_t adacomp(Exec const& exec, float const* a, float const* g, std::size_t n, std::size_t bin, index_t* kept,
                    float* values, adacomp_chunk* chunks, bool& finite) {
  auto const range = adacomp_range(bin);
  for_ranges(exec, "gradpress::kernel::adacomp", n, range, [&](std::size_t from, std::size_t to) {
    chunks[from / range] = detail::adacomp_bins(a, g, from, to, bin, kept + from);
  });
  adacomp_chunk all;
  for (std::size_t c = 0; c < adacomp_chunks(n, bin); ++c) {
    if (all.kept != c * range) std::memmove(kept + all.kept, kept + c * range, chunks[c].kept * sizeof(index_t));
    all.kept += chunks[c].kept, all.bins += chunks[c].bins, all.maxima += chunks[c].maxima;
    all.finite &= chunks[c].finite;
  }
  finite = all.finite;
  if (!finite || all.bins == 0) return 0;
  auto const s = static_cast<float>(all.maxima / static_cast<double>(all.bins));
  for (std::size_t j = 0; j < all.kept; ++j) values[j] = std::copysign(s, a[kept[j]]);
  return all.kept;
}

GRADPRESS_ONCE(adacomp);

}  // namespace gradpress::kernel
