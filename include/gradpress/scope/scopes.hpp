// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The three scopes of a selection: a tensor, a bucket of tensors, the whole model.

#include <gradpress/concepts/scope.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>

namespace gradpress {

/// Each tensor for itself: a selector keeps its share of every one.
///
/// - Edges   at least one entry of every tensor that has any: the real density is higher where tensors are small.
struct per_tensor {
  static constexpr bool groups_tensors = false;

  [[nodiscard]] std::vector<std::size_t> groups(std::span<std::size_t const> sizes) const {
    return std::vector<std::size_t>(sizes.size(), 1);
  }
};

/// Consecutive tensors, as many as fit into a bucket; one that is larger has a bucket of its own.
///
/// - Units   elements, not bytes.
/// - Use     between the other two: fewer and larger messages than a tensor at a time, and buckets that are ready may be
///           compressed before the rest of the model is.
struct per_bucket {
  std::size_t elements = std::size_t{1} << 20;

  static constexpr bool groups_tensors = true;

  [[nodiscard]] std::vector<std::size_t> groups(std::span<std::size_t const> sizes) const {
    if (elements == 0) throw configuration_error("per_bucket: elements must be at least 1, it is 0");
    std::vector<std::size_t> counts;
    std::size_t filled = 0;
    for (auto const n : sizes) {
      if (counts.empty() || n > elements - std::min(filled, elements)) {
        counts.push_back(0);
        filled = 0;
      }
      ++counts.back();
      filled += n;
    }
    return counts;
  }
};

/// All tensors together: one selection over the model.
///
/// - Error   for as many entries no selection of the largest loses less in l2.
/// - Cost    all gradients must be there before the first byte is sent; a layer of small scale may wait long for its
///           turn.
/// - Source  Eghlidi, Jaggi, Sparse Communication for Training Deep Networks, 2020 (arXiv 2009.09271).
struct per_model {
  static constexpr bool groups_tensors = true;

  [[nodiscard]] std::vector<std::size_t> groups(std::span<std::size_t const> sizes) const {
    return sizes.empty() ? std::vector<std::size_t>{} : std::vector<std::size_t>{sizes.size()};
  }
};

static_assert(explain_scope<per_tensor>() && explain_scope<per_bucket>() && explain_scope<per_model>());

}  // namespace gradpress
