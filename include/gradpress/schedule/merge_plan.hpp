// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which tensors share a message, when messages may start before the backward pass ends.

#include <gradpress/communicate/link.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <limits>
#include <string>

namespace gradpress {

/// What a plan knows of a tensor.
struct tensor_timing {
  double ready = 0;   ///< seconds from the start of the backward pass until its gradient is there
  double bytes = 0;   ///< of its message, compressed
  double encode = 0;  ///< seconds until its message is written; the backward pass waits meanwhile
};

/// Groups of consecutive tensors: group i is [ends[i - 1], ends[i]), from 0.
struct merge_plan {
  std::vector<std::size_t> ends;
  double finish = 0;  ///< seconds from the start of the backward pass until the last message has arrived

  [[nodiscard]] std::size_t groups() const noexcept { return ends.size(); }
};

namespace detail {
/// When each message can leave at the earliest, sent alone. Encoding delays whatever is computed after it.
inline std::vector<double> sendable(std::span<tensor_timing const> tensors, link_cost const& on) {
  auto const legal = [](double v) { return v >= 0 && v < std::numeric_limits<double>::infinity(); };
  if (!legal(on.alpha) || !legal(on.beta))
    throw configuration_error("merge plan: alpha and beta must be finite and at least 0");
  std::vector<double> at;
  double encoding = 0, before = 0;
  for (auto const& t : tensors) {
    if (!legal(t.ready) || !legal(t.bytes) || !legal(t.encode) || t.ready < before)
      throw configuration_error("merge plan: tensor " + std::to_string(at.size()) +
                                ": times and bytes must be finite and at least 0, and tensors in the order in which "
                                "they become ready");
    before = t.ready;
    encoding += t.encode;
    at.push_back(t.ready + encoding);
  }
  return at;
}
}  // namespace detail

/// When the last message of a grouping arrives: a group's message leaves when its last tensor is encoded and the
/// message before it has arrived, and takes alpha + beta bytes.
inline double finish_of(std::span<tensor_timing const> tensors, link_cost const& on,
                        std::span<std::size_t const> ends) {
  auto const at = detail::sendable(tensors, on);
  double finish = 0;
  std::size_t first = 0;
  for (auto const end : ends) {
    double bytes = 0;
    for (; first < end; ++first) bytes += tensors[first].bytes;
    finish = std::max(finish, at[end - 1]) + on.seconds(bytes);
  }
  return finish;
}

/// The grouping that finishes first; of several, one with small last groups.
///
/// - Input     tensors in the order in which they become ready: the last layer's first.
/// - Method    E[j] = min over i < j of max(E[i], ready[j]) + alpha + beta (bytes of i .. j): exact, since what follows
///             a group hangs on its end alone.
/// - Cost      O(L^2) for L tensors.
/// - Edges     alpha = 0 merges nothing; no tensors, no groups. A merger that saves less than 1e-12 of the time is none:
///             sums round.
/// - Source    the model of Shi, Chu, Li, MG-WFBP, INFOCOM 2019. Differs: exact, where their rule is not always; see
///             plan_merges_greedy.
inline merge_plan plan_merges(std::span<tensor_timing const> tensors, link_cost const& on) {
  auto const at = detail::sendable(tensors, on);
  auto const L = tensors.size();
  std::vector<double> earliest(L + 1, 0);
  std::vector<std::size_t> from(L + 1, 0);
  for (std::size_t j = 1; j <= L; ++j) {
    auto best = std::numeric_limits<double>::infinity();
    double bytes = 0;
    for (std::size_t i = j; i-- > 0;) {
      bytes += tensors[i].bytes;
      auto const finish = std::max(earliest[i], at[j - 1]) + on.seconds(bytes);
      if (i + 1 == j || finish < best * (1 - 1e-12)) best = finish, from[j] = i;
    }
    earliest[j] = best;
  }
  merge_plan plan;
  plan.finish = earliest[L];
  for (auto j = L; j > 0; j = from[j]) plan.ends.push_back(j);
  std::reverse(plan.ends.begin(), plan.ends.end());
  return plan;
}

/// The published rule, to reproduce its figures: merge a tensor into the next one if that is ready before this one's
/// message would have been under way for alpha.
///
/// - Cost      O(L).
/// - Bias      not always the best. alpha = 4, beta = 1, tensors of 3, 1 and 1 bytes, ready after 1, 4 and 8: it ends
///             at 17, the best plan at 14. Where a message waits for another anyway, it merges even if alpha = 0.
/// - Source    Shi, Chu, Li, MG-WFBP, INFOCOM 2019, algorithm 1.
inline merge_plan plan_merges_greedy(std::span<tensor_timing const> tensors, link_cost const& on) {
  auto const at = detail::sendable(tensors, on);
  merge_plan plan;
  double bytes = 0;
  for (std::size_t l = 0; l < tensors.size(); ++l) {
    bytes += tensors[l].bytes;
    auto const start = std::max(plan.finish, at[l]);  // of the group that ends here, so far
    if (l + 1 < tensors.size() && at[l + 1] < start + on.alpha) continue;
    plan.finish = start + on.seconds(bytes);
    plan.ends.push_back(l + 1);
    bytes = 0;
  }
  return plan;
}

}  // namespace gradpress
