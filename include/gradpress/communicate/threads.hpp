// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: the ranks are threads of one process.

#include <gradpress/communicate/adapt.hpp>
#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gradpress {

/// What the ranks of one process meet in. Outlives its communicators.
///
/// A rank that fails, or that stays away longer than `patience`, breaks the group: every waiting rank, and every later
/// call, gets a `communicator_error` that says which rank and why. Nobody waits for ever.
class thread_group {
 public:
  explicit thread_group(int size, std::chrono::milliseconds patience = std::chrono::seconds(60))
      : slots_(at_least_one(size)), here_(slots_.size(), false), patience_(patience) {}
  thread_group(thread_group const&) = delete;
  thread_group& operator=(thread_group const&) = delete;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(slots_.size()); }
  /// Releases everybody; the first reason stands.
  void abandon(int rank, std::string_view why) noexcept {
    std::string text;
    try {
      text = "rank " + std::to_string(rank) + " gave up: " + std::string(why);
    } catch (...) {  // out of memory: they are released all the same, without the reason
    }
    std::lock_guard const lock(mutex_);
    break_up(std::move(text), rank);
  }
  /// The rank that broke the group, -1 if none did.
  [[nodiscard]] int broken_by() const {
    std::lock_guard const lock(mutex_);
    return broken_by_;
  }

 private:
  friend class thread_communicator;

  /// What a rank calls, and with what; all ranks check all slots, so that all come to the same verdict.
  struct slot {
    char const* call = "";
    std::byte const* out = nullptr;
    std::size_t size = 0;
    std::byte* in_place = nullptr;
    char const* element = "";
    std::span<std::size_t const> sizes = {};
    int to = -1, from = -1;
    std::size_t awaited = 0;      ///< bytes expected of `from`
    char const* wrong = nullptr;  ///< this rank's arguments do not fit one another
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

  static std::size_t at_least_one(int size) {
    if (size < 1) throw configuration_error("thread_group: needs at least one rank, not " + std::to_string(size));
    return static_cast<std::size_t>(size);
  }
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
      break_up("rank " + std::to_string(rank) + " waited " + std::to_string(patience_.count()) +
                   " ms in vain for rank " + missing + "; every rank must make the same calls",
               -1);
    }
    if (round_ == mine) throw communicator_error(why_);
  }
};

/// One rank of a `thread_group`. Cheap to copy; one thread uses it at a time.
///
/// - Cost     every operation is two meetings of all ranks and the copies; sums are split over the ranks by slices.
/// - Sums     in rank order: the same bits on every rank, in every run, and as derived from all_gather.
/// - Misuse   different calls, types or sizes, and sends that nobody awaits, are the same `communicator_error` on all
///            ranks; the group stays whole.
class thread_communicator {
  thread_group* group_;
  int rank_;

 public:
  thread_communicator(thread_group& group, int rank) : group_(&group), rank_(rank) {
    if (rank < 0 || rank >= group.size())
      throw configuration_error("thread_communicator: no rank " + std::to_string(rank) + " in a group of " +
                                std::to_string(group.size()));
  }
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return group_->size(); }

  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    bool const fits = all.size() == ranks() * mine.size();
    char const* const wrong = fits ? nullptr : collective::detail::wrong_gather;
    publish({.call = "all_gather", .out = mine.data(), .size = mine.size(), .wrong = wrong});
    demand(equal_sizes());
    for (std::size_t p = 0; p < ranks(); ++p)
      collective::detail::copy(all.data() + p * mine.size(), slot(p).out, mine.size());
    group_->meet(rank_);
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes, std::span<std::byte> all) {
    bool const fits = collective::detail::fits_gather_v(ranks(), index(), mine, sizes, all);
    char const* const wrong = fits ? nullptr : collective::detail::wrong_gather_v;
    publish({.call = "all_gather_v", .out = mine.data(), .size = mine.size(), .sizes = sizes, .wrong = wrong});
    demand(same_announcements());
    std::size_t at = 0;
    for (std::size_t p = 0; p < ranks(); at += sizes[p++])
      collective::detail::copy(all.data() + at, slot(p).out, sizes[p]);
    group_->meet(rank_);
  }
  template <class T>
  requires is_wire_scalar<T>
  void all_reduce_sum(std::span<T> x) { reduce<collective::detail::sum<T>>(x, "all_reduce_sum"); }
  void all_reduce_max(std::span<float> x) { reduce<collective::detail::max>(x, "all_reduce_max"); }
  /// Messages of one call may differ in size from pair to pair.
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) {
    bool const exist = to >= -1 && to < size() && from >= -1 && from < size();
    publish({.call = "send_recv",
             .out = out.data(),
             .size = out.size(),
             .to = to,
             .from = from,
             .awaited = in.size(),
             .wrong = exist ? nullptr : "no such rank"});
    demand(matched());
    if (from >= 0) collective::detail::copy(in.data(), slot(static_cast<std::size_t>(from)).out, in.size());
    group_->meet(rank_);
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) {
    bool const fits = out.size() % ranks() == 0 && in.size() == out.size();
    char const* const wrong = fits ? nullptr : collective::detail::wrong_transpose;
    publish({.call = "all_to_all", .out = out.data(), .size = out.size(), .wrong = wrong});
    demand(equal_sizes());
    auto const block = out.size() / ranks();
    for (std::size_t p = 0; p < ranks(); ++p)
      collective::detail::copy(in.data() + p * block, slot(p).out + index() * block, block);
    group_->meet(rank_);
  }
  void abandon(std::string_view why) noexcept { group_->abandon(rank_, why); }

 private:
  [[nodiscard]] std::size_t ranks() const { return group_->slots_.size(); }
  [[nodiscard]] std::size_t index() const { return static_cast<std::size_t>(rank_); }
  [[nodiscard]] thread_group::slot const& slot(std::size_t p) const { return group_->slots_[p]; }
  void publish(thread_group::slot const& s) {
    group_->slots_[index()] = s;
    group_->meet(rank_);
  }
  /// All ranks read the same slots, so all throw, and together: nobody may overwrite a slot that another still reads.
  void demand(std::string const& wrong) {
    if (wrong.empty()) return;
    group_->meet(rank_);
    throw communicator_error(wrong);
  }
  [[nodiscard]] static std::string text(std::size_t n) { return std::to_string(n); }
  [[nodiscard]] std::string same_calls() const {
    auto const name = [](thread_group::slot const& s) { return std::string(s.call) + s.element; };
    for (std::size_t p = 1; p < ranks(); ++p)
      if (slot(p).call != std::string_view(slot(0).call) || slot(p).element != std::string_view(slot(0).element))
        return "rank 0 calls " + name(slot(0)) + ", rank " + text(p) + " calls " + name(slot(p));
    return {};
  }
  [[nodiscard]] std::string own_misfit() const {
    for (std::size_t p = 0; p < ranks(); ++p)
      if (slot(p).wrong != nullptr) return "rank " + text(p) + ": " + slot(p).call + ": " + slot(p).wrong;
    return {};
  }
  [[nodiscard]] std::string equal_sizes() const {
    if (auto wrong = same_calls(); !wrong.empty()) return wrong;
    for (std::size_t p = 1; p < ranks(); ++p)
      if (slot(p).size != slot(0).size)
        return slot(0).call + (": rank 0 has " + text(slot(0).size)) + " bytes, rank " + text(p) + " has " +
               text(slot(p).size);
    return own_misfit();
  }
  [[nodiscard]] std::string same_announcements() const {
    if (auto wrong = same_calls(); !wrong.empty()) return wrong;
    for (std::size_t q = 0; q < ranks(); ++q)
      for (std::size_t p = 0; p < ranks() && slot(q).sizes.size() == ranks(); ++p)
        if (slot(p).size != slot(q).sizes[p])
          return "all_gather_v: rank " + text(p) + " sends " + text(slot(p).size) + " bytes where rank " + text(q) +
                 " was told " + text(slot(q).sizes[p]);
    return own_misfit();
  }
  [[nodiscard]] std::string matched() const {
    if (auto wrong = same_calls(); !wrong.empty()) return wrong;
    if (auto wrong = own_misfit(); !wrong.empty()) return wrong;  // first: the ranks below must exist
    auto const at = [&](int rank) -> auto const& { return slot(static_cast<std::size_t>(rank)); };
    for (int p = 0; p < size(); ++p) {
      auto const& s = at(p);
      if (s.from >= 0 && (at(s.from).to != p || at(s.from).size != s.awaited))
        return "send_recv: rank " + std::to_string(p) + " expects " + text(s.awaited) + " bytes from rank " +
               std::to_string(s.from) + ", which sends " + text(at(s.from).size) + " to rank " +
               std::to_string(at(s.from).to);
      if (s.to >= 0 && at(s.to).from != p)
        return "send_recv: rank " + std::to_string(p) + " sends to rank " + std::to_string(s.to) +
               ", which expects its message from rank " + std::to_string(at(s.to).from);
    }
    return {};
  }
  /// Rank r folds slice r of all arrays and writes it to all of them: nobody else touches it.
  template <class Fold, class T>
  void reduce(std::span<T> x, char const* call) {
    static constexpr char const* types[] = {" of float", " of double",   " of int8",   " of int16",
                                            " of int32", " of bfloat16", " of float16"};
    publish({.call = call,
             .size = x.size_bytes(),
             .in_place = reinterpret_cast<std::byte*>(x.data()),
             .element = types[static_cast<std::size_t>(scalar_of<T>)]});
    demand(equal_sizes());
    auto const array = [&](std::size_t p) { return reinterpret_cast<T*>(slot(p).in_place); };
    auto const begin = x.size() * index() / ranks(), end = x.size() * (index() + 1) / ranks();
    collective::detail::fold_rows<Fold>(ranks(), begin, end, x.data(), array);
    for (std::size_t p = 0; p < ranks() && begin < end; ++p)
      if (p != index()) std::copy(x.data() + begin, x.data() + end, array(p) + begin);
    group_->meet(rank_);
  }
};

static_assert(communicator<thread_communicator>);

/// Runs f(thread_communicator&) as `size` ranks in threads of their own and joins them. If a rank throws, the others
/// are released, and the exception of the rank that failed first is thrown here.
inline void run_ranks(int size, std::function<void(thread_communicator&)> const& f,
                      std::chrono::milliseconds patience = std::chrono::seconds(60)) {
  thread_group group(size, patience);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
  auto const run = [&](int r) noexcept {
    auto& mine = thrown[static_cast<std::size_t>(r)];
    try {
      thread_communicator comm(group, r);
      f(comm);
    } catch (std::exception const& e) {
      mine = std::current_exception();
      group.abandon(r, e.what());
    } catch (...) {
      mine = std::current_exception();
      group.abandon(r, "an unknown exception");
    }
  };
  {
    std::vector<std::jthread> threads;  // join also where the system refuses to start one
    try {
      for (int r = 0; r < size; ++r) threads.emplace_back(run, r);
    } catch (std::exception const& e) {
      group.abandon(static_cast<int>(threads.size()), e.what());
      throw;
    }
  }
  if (auto const first = group.broken_by(); first >= 0 && thrown[static_cast<std::size_t>(first)])
    std::rethrow_exception(thrown[static_cast<std::size_t>(first)]);
  for (auto const& e : thrown)
    if (e) std::rethrow_exception(e);
}

GRADPRESS_INSTANCE(std::unique_ptr<transport> adapt(thread_communicator&));

}  // namespace gradpress
