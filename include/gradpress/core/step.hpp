// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The step context, first argument of every policy operation: where to run, which random numbers, which scratch.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/memory.hpp>
#include <gradpress/core/philox.hpp>

#include <algorithm>
#include <vector>

namespace gradpress {

/// What a random number is for; different purposes never share a stream.
enum class purpose : std::uint64_t { support = 1, rounding, start };

/// Scratch memory that grows in the first step and then never again; nobody has to declare sizes.
template <class Exec>
class arena {
  buffer<Exec, std::byte> block_;
  std::vector<buffer<Exec, std::byte>> overflow_;
  std::size_t used_ = 0, peak_ = 0, allocations_ = 0;

 public:
  /// n elements of T, uninitialised, at a multiple of 64 bytes; dead after the next `release`.
  template <class T>
  view<Exec, T> take(std::size_t n) {
    return view<Exec, T>(reinterpret_cast<T*>(take_bytes(n * sizeof(T))), n);
  }
  void release();
  [[nodiscard]] std::size_t allocations() const noexcept { return allocations_; }

 private:
  std::byte* take_bytes(std::size_t n);
};

template <class Exec>
std::byte* arena<Exec>::take_bytes(std::size_t n) {
  auto const size = (n + 63) / 64 * 64, at = used_;
  used_ += size;
  peak_ = std::max(peak_, used_);
  if (used_ <= block_.extent(0)) return block_.data() + at;
  ++allocations_;
  overflow_.push_back(unwritten<Exec, std::byte>("gradpress::scratch", size));
  return overflow_.back().data();
}
template <class Exec>
void arena<Exec>::release() {
  used_ = 0;
  if (overflow_.empty()) return;
  overflow_.clear();
  block_ = {};
  block_ = unwritten<Exec, std::byte>("gradpress::scratch", peak_);
}
GRADPRESS_CLASS_ONCE(arena);

/// | member                | means                                                                           |
/// |-----------------------|---------------------------------------------------------------------------------|
/// | `exec`                | run here, and nowhere else                                                      |
/// | `rank`, `world`       | who, and how many (P)                                                           |
/// | `number`, `phase`     | step number (grows at a commit only) and phase inside the step                   |
/// | `part`                | which chunk of a tensor is being coded; 0 unless an exchange splits tensors      |
/// | `shared(purpose)`     | key equal on all ranks                                                          |
/// | `own(purpose)`        | key of this rank alone                                                          |
/// | `scratch<T>(n)`       | uninitialised memory, dead when the policy's operation returns to the reducer    |
template <class Exec>
struct step {
  Exec exec;
  std::uint64_t seed = 0, number = 0, tensor = 0;
  int rank = 0, world = 1, phase = 0, part = 0;
  arena<Exec>* memory = nullptr;

  [[nodiscard]] key shared(purpose p) const {
    return key{seed}
        .with(number)
        .with(tensor)
        .with(static_cast<std::uint64_t>(phase) << 32 | static_cast<std::uint32_t>(part))
        .with(static_cast<std::uint64_t>(p));
  }
  [[nodiscard]] key own(purpose p) const { return shared(p).with(1000003u + static_cast<std::uint64_t>(rank)); }
  template <class T = float>
  [[nodiscard]] view<Exec, T> scratch(std::size_t n) const {
    return memory->template take<T>(n);
  }
};

}  // namespace gradpress
