// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Metrics: are the mirrors of EF21 and its kin still what all ranks think they are? And what to do if not.

#include <gradpress/core/checksum.hpp>
#include <gradpress/reducer.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace gradpress {

/// Watches tensors whose memory is mirrored (`ef21`, `ef21_sgdm`, `diana`): all ranks keep `mirror`, the mean of what each
/// keeps as `mine`. Damage to either (memory, a checkpoint of another run) parts them for ever, without an error.
///
///     gp::mirror_guard guard{reducer};
///     guard.add(w);                             // with the other tensors, on all ranks
///     if (step % 1000 == 0) guard.check();      // throws on all ranks alike; 16 P bytes a tensor
///     guard.resync();                           // on all ranks: every mirror becomes the mean of `mine`
///
/// - Ranks   all call alike, between steps.
/// - Steps   a check or resync counts as no step, but the step before it can no longer be rolled back.
/// - Cost    a check reads the mirrors; a resync is a dense all-reduce of n floats a tensor.
template <class Exec>
class mirror_guard {
  using handle = typename reducer<Exec>::tensor;
  struct watched {
    handle of, sums, mean;
  };

  reducer<Exec>* reducer_;
  std::vector<watched> all_;
  std::vector<std::vector<float>> room_;

 public:
  explicit mirror_guard(reducer<Exec>& over) : reducer_(&over) {}

  /// Throws `configuration_error` if the tensor's memory is not mirrored. Adds two dense tensors to the reducer, called
  /// name/mirror and name/mirrors, which are staged by this guard alone.
  void add(handle t) {
    auto const state = state_of(t);
    auto const& name = reducer_->name(t);
    if (!state.contains("mine") || !state.contains("mirror"))
      throw configuration_error("gradpress: tensor '" + name +
                                "': mirror_guard watches mirrored memories, such as ef21; " + reducer_->method(t) +
                                " has none");
    auto const dims = reducer_->dims(t);
    auto const ranks = static_cast<std::size_t>(reducer_->size());
    all_.push_back({t, reducer_->add(name + "/mirrors", words * ranks), reducer_->add(name + "/mirror", dims.size())});
  }

  /// Throws `state_error` on all ranks if the mirrors of a tensor differ between ranks, naming the tensor and the ranks
  /// that differ from most. Changes nothing.
  void check() {
    auto const ranks = static_cast<std::size_t>(reducer_->size()), mine = static_cast<std::size_t>(reducer_->rank());
    average_all(
        [&](watched const& w) {
          std::vector<float> sums(words * ranks);
          auto const mirror = state_of(w.of).at("mirror");
          auto const sum = checksum(std::as_bytes(std::span(mirror.data(), mirror.extent(0))));
          for (std::size_t i = 0; i < words; ++i) sums[words * mine + i] = static_cast<float>(sum >> (16 * i) & 0xffff);
          return sums;
        },
        &watched::sums);
    std::string wrong;
    for (std::size_t i = 0; i < all_.size(); ++i)
      if (auto const odd = odd_ones(room_[i], ranks); !odd.empty())
        wrong += (wrong.empty() ? "tensor '" : ", tensor '") + reducer_->name(all_[i].of) + "': " + odd;
    if (!wrong.empty())
      throw state_error("gradpress: " + wrong +
                        " holds another mirror than the others; give all ranks the same parameters and call "
                        "mirror_guard::resync on all of them");
  }

  /// Every mirror becomes the mean over the ranks of what each keeps, the same bits everywhere. Returns the largest
  /// difference to what this rank's mirrors were; rounding leaves some parts in 10^7 of the largest gradient.
  double resync() {
    average_all(
        [&](watched const& w) {
          auto const mine = state_of(w.of).at("mine");
          return std::vector<float>(mine.data(), mine.data() + mine.extent(0));
        },
        &watched::mean);
    double most = 0;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      auto const mirror = state_of(all_[i].of).at("mirror");
      for (std::size_t k = 0; k < mirror.extent(0); ++k) {
        most = std::max(most, std::abs(static_cast<double>(mirror(k)) - static_cast<double>(room_[i][k])));
        mirror(k) = room_[i][k];
      }
    }
    return most;
  }

 private:
  static constexpr std::size_t words = 4;  // of 16 bits, which floats hold and add exactly

  std::map<std::string, buffer<Exec>> state_of(handle t) const {
    std::map<std::string, buffer<Exec>> all;
    reducer_->visit(t, [&](char const* name, buffer<Exec> b) { all.emplace(name, b); });
    return all;
  }

  /// One step of the reducer with what `fill` makes of each tensor; its number is taken back.
  template <class Fill>
  void average_all(Fill const& fill, handle watched::*as) {
    if (all_.empty()) return;
    room_.clear();
    for (auto const& w : all_) room_.push_back(fill(w));
    for (std::size_t i = 0; i < all_.size(); ++i) reducer_->stage(all_[i].*as, std::span(room_[i]));
    reducer_->average();
    reducer_->rollback();  // dense tensors remember nothing
  }

  /// "rank 2" or "ranks 0, 3": whose checksums are not those of most; empty if all are equal.
  static std::string odd_ones(std::vector<float> const& means, std::size_t ranks) {
    std::vector<std::vector<float>> sums(ranks);
    std::map<std::vector<float>, int> votes;
    for (std::size_t p = 0; p < ranks; ++p) {
      for (std::size_t i = 0; i < words; ++i)
        sums[p].push_back(std::round(means[words * p + i] * static_cast<float>(ranks)));
      ++votes[sums[p]];
    }
    if (votes.size() == 1) return {};
    auto const most = std::max_element(votes.begin(), votes.end(), [](auto const& a, auto const& b) {
                        return a.second < b.second;
                      })->first;
    std::string odd;
    int count = 0;
    for (std::size_t p = 0; p < ranks; ++p)
      if (sums[p] != most) odd += (count++ > 0 ? ", " : "") + std::to_string(p);
    return (count > 1 ? "each of ranks " : "rank ") + odd;
  }
};

}  // namespace gradpress
