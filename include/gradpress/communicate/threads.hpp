// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: the ranks are threads of one process.

#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/error.hpp>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace gradpress {

/// What the ranks of one process meet in. Outlives its communicators.
///
/// A rank that fails, or that stays away longer than `patience`, breaks the group: every waiting rank, and every later
/// call, gets a `communicator_error` that says which rank and why. Nobody waits for ever.
class thread_group {
 public:
  explicit thread_group(int size, std::chrono::milliseconds patience = std::chrono::seconds(60))
      : slots_(static_cast<std::size_t>(size)), here_(static_cast<std::size_t>(size), false), patience_(patience) {}
  thread_group(thread_group const&) = delete;
  thread_group& operator=(thread_group const&) = delete;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(slots_.size()); }
  /// Releases everybody; the first reason stands.
  void abandon(int rank, std::string_view why) noexcept {
    std::lock_guard const lock(mutex_);
    break_up("rank " + std::to_string(rank) + " gave up: " + std::string(why), rank);
  }
  /// The rank that broke the group, -1 if none did.
  [[nodiscard]] int broken_by() const {
    std::lock_guard const lock(mutex_);
    return broken_by_;
  }

 private:
  friend class thread_communicator;

  struct slot {
    char const* call = "";
    std::byte const* out = nullptr;
    std::byte* in_place = nullptr;
    std::size_t size = 0;
    int to = -1;
  };
  std::vector<slot> slots_;
  std::vector<bool> here_;
  std::chrono::milliseconds patience_;
  mutable std::mutex mutex_;
  std::condition_variable all_here_;
  std::size_t arrived_ = 0;
  std::uint64_t round_ = 0;
  bool broken_ = false;
  int broken_by_ = -1;
  std::string why_;

  void break_up(std::string why, int rank) noexcept {
    if (broken_) return;
    broken_ = true;
    broken_by_ = rank;
    why_ = std::move(why);
    all_here_.notify_all();
  }
  /// A barrier. What ranks wrote before it, all see after it.
  void meet(int rank) {
    std::unique_lock lock(mutex_);
    if (broken_) throw communicator_error(why_);
    here_[static_cast<std::size_t>(rank)] = true;
    if (++arrived_ == slots_.size()) {
      arrived_ = 0;
      here_.assign(here_.size(), false);
      ++round_;
      all_here_.notify_all();
      return;
    }
    auto const mine = round_;
    if (!all_here_.wait_for(lock, patience_, [&] { return round_ != mine || broken_; })) {
      std::string missing;
      for (std::size_t p = 0; p < here_.size(); ++p)
        if (!here_[p]) missing += (missing.empty() ? "" : ", ") + std::to_string(p);
      break_up("waited " + std::to_string(patience_.count()) + " ms in vain for rank " + missing + "; every rank must make the same calls", -1);
    }
    if (round_ == mine) throw communicator_error(why_);
  }
};

/// One rank of a `thread_group`. Cheap to copy; one thread uses it at a time.
///
/// - Cost     every operation is two meetings of all ranks and the copies; sums are split over the ranks by slices.
/// - Sums     in rank order: the same bits on every rank and in every run; narrow floats are summed in float.
/// - Misuse   different calls or sizes on different ranks are one `communicator_error` on all of them.
class thread_communicator {
  thread_group* group_;
  int rank_;

 public:
  thread_communicator(thread_group& group, int rank) : group_(&group), rank_(rank) {}
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return group_->size(); }

  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    publish({"all_gather", mine.data(), nullptr, mine.size()});
    demand(equal_sizes());
    for (std::size_t p = 0; p < ranks() && !mine.empty(); ++p) std::memcpy(all.data() + p * mine.size(), slot(p).out, mine.size());
    group_->meet(rank_);
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    publish({"all_gather_v", mine.data(), nullptr, mine.size()});
    std::string wrong = same_calls();
    for (std::size_t p = 0; p < ranks() && wrong.empty(); ++p)
      if (slot(p).size != sizes[p]) wrong = "all_gather_v: rank " + std::to_string(p) + " sends " + std::to_string(slot(p).size) + " bytes where " + std::to_string(sizes[p]) + " were announced";
    demand(wrong);
    std::size_t at = 0;
    for (std::size_t p = 0; p < ranks(); at += sizes[p++])
      if (sizes[p] > 0) std::memcpy(all.data() + at, slot(p).out, sizes[p]);
    group_->meet(rank_);
  }
  template <class T>
    requires is_wire_scalar<T>
  void all_reduce_sum(std::span<T> x) {
    reduce(x, "all_reduce_sum", [P = ranks()](auto at) { return collective::sum_in_rank_order<T>(P, at); });
  }
  void all_reduce_max(std::span<float> x) {
    reduce(x, "all_reduce_max", [P = ranks()](auto at) {
      float top = at(0);
      for (std::size_t p = 1; p < P; ++p) top = std::max(top, at(p));
      return top;
    });
  }
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) {
    publish({"send_recv", out.data(), nullptr, out.size(), to});
    auto wrong = same_calls();
    if (wrong.empty() && from >= 0) {
      auto const& s = slot(static_cast<std::size_t>(from));
      if (s.to != rank_ || s.size != in.size())
        wrong = "send_recv: rank " + std::to_string(rank_) + " expects " + std::to_string(in.size()) + " bytes from rank " + std::to_string(from) + ", which sends " + std::to_string(s.size) + " to rank " + std::to_string(s.to);
      else if (!in.empty())
        std::memcpy(in.data(), s.out, in.size());
    }
    if (!wrong.empty()) {  // the others may not know of it
      group_->abandon(rank_, wrong);
      throw communicator_error(wrong);
    }
    group_->meet(rank_);
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) {
    publish({"all_to_all", out.data(), nullptr, out.size()});
    demand(equal_sizes());
    auto const block = out.size() / ranks(), r = static_cast<std::size_t>(rank_);
    for (std::size_t p = 0; p < ranks() && block > 0; ++p) std::memcpy(in.data() + p * block, slot(p).out + r * block, block);
    group_->meet(rank_);
  }
  void abandon(std::string_view why) noexcept { group_->abandon(rank_, why); }

 private:
  [[nodiscard]] std::size_t ranks() const { return group_->slots_.size(); }
  [[nodiscard]] thread_group::slot const& slot(std::size_t p) const { return group_->slots_[p]; }
  void publish(thread_group::slot s) {
    group_->slots_[static_cast<std::size_t>(rank_)] = s;
    group_->meet(rank_);
  }
  [[nodiscard]] std::string same_calls() const {
    for (std::size_t p = 1; p < ranks(); ++p)
      if (std::strcmp(slot(p).call, slot(0).call) != 0) return std::string("rank 0 calls ") + slot(0).call + ", rank " + std::to_string(p) + " calls " + slot(p).call;
    return {};
  }
  [[nodiscard]] std::string equal_sizes() const {
    auto wrong = same_calls();
    for (std::size_t p = 1; p < ranks() && wrong.empty(); ++p)
      if (slot(p).size != slot(0).size) wrong = std::string(slot(0).call) + ": rank 0 has " + std::to_string(slot(0).size) + " bytes, rank " + std::to_string(p) + " has " + std::to_string(slot(p).size);
    return wrong;
  }
  /// All ranks see the same slots, so all throw, and together: nobody may overwrite a slot that another still reads.
  void demand(std::string const& wrong) {
    if (wrong.empty()) return;
    group_->meet(rank_);
    throw communicator_error(wrong);
  }
  /// Rank r reduces slice r of all arrays, in place: nobody else touches it.
  template <class T, class Fold>
  void reduce(std::span<T> x, char const* call, Fold fold) {
    publish({call, nullptr, reinterpret_cast<std::byte*>(x.data()), x.size_bytes()});
    demand(equal_sizes());
    auto const P = ranks(), r = static_cast<std::size_t>(rank_);
    auto const array = [&](std::size_t p) { return reinterpret_cast<T*>(slot(p).in_place); };
    for (std::size_t i = x.size() * r / P; i < x.size() * (r + 1) / P; ++i) {
      T const folded = fold([&](std::size_t p) { return array(p)[i]; });
      for (std::size_t p = 0; p < P; ++p) array(p)[i] = folded;
    }
    group_->meet(rank_);
  }
};

static_assert(communicator<thread_communicator>);

/// Runs f(thread_communicator&) as `size` ranks in threads of their own and joins them. If a rank throws, the others are
/// released, and its exception is thrown here.
template <class F>
void run_ranks(int size, F const& f, std::chrono::milliseconds patience = std::chrono::seconds(60)) {
  thread_group group(size, patience);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      thread_communicator comm(group, r);
      try {
        f(comm);
      } catch (std::exception const& e) {
        thrown[static_cast<std::size_t>(r)] = std::current_exception();
        group.abandon(r, e.what());
      } catch (...) {
        thrown[static_cast<std::size_t>(r)] = std::current_exception();
        group.abandon(r, "an unknown exception");
      }
    });
  for (auto& t : threads) t.join();
  if (auto const first = group.broken_by(); first >= 0 && thrown[static_cast<std::size_t>(first)]) std::rethrow_exception(thrown[static_cast<std::size_t>(first)]);
  for (auto const& e : thrown)
    if (e) std::rethrow_exception(e);
}

}  // namespace gradpress
