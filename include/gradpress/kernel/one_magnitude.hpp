// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One magnitude for all elements, the mean, and one bit each:
///
///     [fp32 mean of |x|][u32 word x ceil(n / 32)], words as in sign.hpp; nothing if n = 0

#include <gradpress/kernel/importance.hpp>
#include <gradpress/kernel/sum_pieces.hpp>
#include <gradpress/kernel/vote.hpp>

#include <limits>

namespace gradpress::kernel {

namespace detail {
inline constexpr float no_cap = std::numeric_limits<float>::infinity();
inline void store_mean(capped_sums const& all, std::size_t n, std::byte* codes) noexcept {
  store(codes, static_cast<float>(all.rest / static_cast<double>(n)));
}
}  // namespace detail

/// Codes of x. False: x holds NaN or infinity. `partial` is importance_chunks(n) entries of workspace. Two reads of x.
template <class Exec>
bool one_magnitude_encode(Exec const& exec, float const* x, std::size_t n, capped_sums* partial, std::byte* codes) {
  if (n == 0) return true;
  if (!sign_encode(exec, x, n, 32 * sign_words(n), codes)) return false;
  detail::store_mean(sum_capped(exec, x, n, detail::no_cap, partial), n, codes);
  return true;
}

/// Codes of g + e (of g if e is null), and rest = g + e - decoded. False: g + e holds NaN or infinity, and what was
/// written means nothing. rest may be g or e. `partial` as above.
///
/// - Cost  reads 2 n floats and writes n, the sum; then reads and writes n: the mean is known when all have been seen.
template <class Exec>
bool one_magnitude_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n,
                              capped_sums* partial, std::byte* codes) {
  if (n == 0) return true;
  static_assert(sum_grain == importance_grain, "the same chunks have the same sums");
  auto const path = current_isa();
  auto* const words = codes + 4;
  detail::sum_pass const s(g, e, rest, n);
  for_ranges(exec, "gradpress::kernel::one_magnitude_encode_sum", n, sum_grain, [&](std::size_t from, std::size_t to) {
    detail::capped_lanes lanes;
    detail::sum_range(path, s, from, to, [&](std::size_t at, std::size_t m, float* a) {
      detail::piece_signs(path, a, m, words + at / 8);
      detail::add_capped(path, a, m, magnitude(detail::no_cap), lanes);
    });
    partial[from / sum_grain] = lanes.all();
  });
  auto const all = detail::sum_chunks(partial, importance_chunks(n));
  detail::store_mean(all, n, codes);
  accumulate_signs(exec, words, n, -detail::load_float(codes), rest);
  return all.largest < detail::infinite_magnitude;
}

GRADPRESS_ONCE(one_magnitude_encode);
GRADPRESS_ONCE(one_magnitude_encode_sum);

}  // namespace gradpress::kernel
