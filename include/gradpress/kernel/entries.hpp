// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// k-sized writes into a dense vector.

#include <gradpress/core/types.hpp>

namespace gradpress::kernel {

/// x[at[i]] += values[i]; indices are distinct.
inline void add_at(float* x, index_t const* at, float const* values, std::size_t k) noexcept {
  for (std::size_t i = 0; i < k; ++i) x[at[i]] += values[i];
}
/// x[at[i]] = values[i]; indices are distinct.
inline void put_at(float* x, index_t const* at, float const* values, std::size_t k) noexcept {
  for (std::size_t i = 0; i < k; ++i) x[at[i]] = values[i];
}

}  // namespace gradpress::kernel
