// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// An array whose surroundings are watched: for kernels that must write what they should and nothing else.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace gradpress::test {

/// n values of T. They start `shift` bytes behind a cache line (a multiple of 4 by default, and no more); bytes of a
/// known pattern lie on both sides.
template <class T>
class guarded {
  static constexpr std::size_t margin = 256;
  static constexpr std::byte pattern{0x5a};
  std::size_t size_, at_;
  std::vector<std::byte> memory_;

 public:
  explicit guarded(std::size_t n, std::size_t shift = 4)
      : size_(n), at_(0), memory_(n * sizeof(T) + 3 * margin, pattern) {
    auto const address = reinterpret_cast<std::uintptr_t>(memory_.data());
    at_ = (address + margin + 63) / 64 * 64 + shift - address;
  }
  guarded(std::vector<T> const& from, std::size_t shift = 4) : guarded(from.size(), shift) {
    if (size_ > 0) std::memcpy(get(), from.data(), size_ * sizeof(T));
  }
  T* get() { return reinterpret_cast<T*>(memory_.data() + at_); }
  T const* get() const { return reinterpret_cast<T const*>(memory_.data() + at_); }
  T operator[](std::size_t i) const { return get()[i]; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::vector<T> values() const { return {get(), get() + size_}; }
  [[nodiscard]] bool intact() const {
    auto clean = [](std::byte b) { return b == pattern; };
    auto const* const memory = memory_.data();
    return std::all_of(memory, memory + at_, clean) &&
           std::all_of(memory + at_ + size_ * sizeof(T), memory + memory_.size(), clean);
  }
  /// The same bits as another one?
  [[nodiscard]] bool same(guarded const& other) const {
    return size_ == other.size_ && (size_ == 0 || std::memcmp(get(), other.get(), size_ * sizeof(T)) == 0);
  }
};

}  // namespace gradpress::test
