// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Sums of all ranks' sparse vectors, as they arrive: one message or more, each over a part of the coefficients.

#include <gradpress/compressor/finite.hpp>
#include <gradpress/core/coder.hpp>
#include <gradpress/encode/sum_stream.hpp>
#include <gradpress/kernel/sparse.hpp>

namespace gradpress::detail {

/// Calls f(sum, where its part starts) for each part of n coefficients. Throws `payload_error`.
template <class Exec, class Use>
void for_each_sum(arrival<Exec> arrived, std::size_t n, Use const& f) {
  auto const parts = arrived.messages.size();
  for (std::size_t p = 0; p < parts; ++p) {
    auto const [from, length] = slice_of(n, p, parts);
    auto const m = arrived.messages[p];
    auto const sum = sum_stream::read(m.data(), m.extent(0), length);
    if (sum.size() != m.extent(0)) throw payload_error("is longer than the sum that it holds");
    f(sum, from);
  }
}

/// Throws what `coder::check` does.
template <class Exec>
void check_sums(step<Exec> const& ctx, arrival<Exec> arrived, std::size_t n) {
  for_each_sum(arrived, n, [&](sum_stream const& s, std::size_t) {
    auto const v = s.values();
    require_finite(ctx, in<Exec>(v.data(), v.size()), "the sum over the ranks overflowed");
  });
}

/// The mean over the ranks of sums that have been checked.
template <class Exec>
void mean_of_sums(step<Exec> const& ctx, arrival<Exec> arrived, view<Exec> mean) {
  auto const P = static_cast<float>(ctx.world);
  for_each_sum(arrived, mean.extent(0), [&](sum_stream const& s, std::size_t from) {
    if (s.dense != nullptr)
      kernel::divide_copy(ctx.exec, s.dense, s.length, P, mean.data() + from);
    else
      kernel::scatter_mean(ctx.exec, &s.sparse, 1, P, mean.data() + from, s.length);
  });
}

GRADPRESS_ONCE(check_sums);
GRADPRESS_ONCE(mean_of_sums);

}  // namespace gradpress::detail
