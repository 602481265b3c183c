// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The text: reading it, numbering its characters, and cutting sequences out of it for the ranks.

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace shakespeare {

/// Sequences to learn from: at each place a character, and the one that follows it. Row t * sequences + s is place t of
/// sequence s, so that one step of a recurrent network reads neighbours.
struct batch {
  std::size_t sequences = 0, length = 0;
  std::vector<int> input, target;

  [[nodiscard]] std::size_t rows() const { return sequences * length; }
};

/// A text as numbers 0..symbols-1, one a character, in the order of their bytes. Nine tenths to train on, the rest to
/// test.
class corpus {
  std::vector<int> train_, test_;
  std::size_t symbols_ = 0;

 public:
  explicit corpus(std::string const& text) {
    std::array<int, 256> number{};
    for (char const c : text) number[static_cast<unsigned char>(c)] = 1;
    for (int& n : number) n = n == 0 ? -1 : static_cast<int>(symbols_++);
    auto const cut = text.size() / 10 * 9;
    for (std::size_t i = 0; i < text.size(); ++i)
      (i < cut ? train_ : test_).push_back(number[static_cast<unsigned char>(text[i])]);
  }

  [[nodiscard]] std::size_t symbols() const { return symbols_; }
  [[nodiscard]] std::size_t train_size() const { return train_.size(); }
  [[nodiscard]] std::size_t test_size() const { return test_.size(); }

  /// Sequences first..first+count-1 of a step. They depend on seed, step and their own number alone: however many ranks
  /// divide a batch, it is the same batch.
  [[nodiscard]] batch training_batch(std::uint64_t seed, int step, std::size_t first, std::size_t count,
                                     std::size_t length) const {
    require(train_.size(), length);
    batch b = empty(count, length);
    for (std::size_t s = 0; s < count; ++s) {
      auto const key = mixed(mixed(mixed(seed) + static_cast<std::uint64_t>(step)) + first + s);
      copy(train_, key % (train_.size() - length), s, b);
    }
    return b;
  }

  /// `count` sequences spread evenly over the part that is not trained on: always the same ones.
  [[nodiscard]] batch test_batch(std::size_t count, std::size_t length) const {
    require(test_.size(), length);
    batch b = empty(count, length);
    for (std::size_t s = 0; s < count; ++s) copy(test_, (test_.size() - length) / count * s, s, b);
    return b;
  }

 private:
  static void require(std::size_t have, std::size_t length) {
    if (have <= length)
      throw std::runtime_error("the text has " + std::to_string(have) + " characters for sequences of " +
                               std::to_string(length) + " and one more; name a longer text, or fewer characters");
  }
  static batch empty(std::size_t count, std::size_t length) {
    return {count, length, std::vector<int>(count * length), std::vector<int>(count * length)};
  }
  static void copy(std::span<int const> from, std::size_t start, std::size_t s, batch& b) {
    for (std::size_t t = 0; t < b.length; ++t) {
      b.input[t * b.sequences + s] = from[start + t];
      b.target[t * b.sequences + s] = from[start + t + 1];
    }
  }
  /// Steele, Lea and Flood's splitmix64: a bijection that scatters neighbours.
  static std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
};

/// Throws `std::runtime_error` that names the file.
inline corpus read_corpus(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open '" + path + "'; name a text with --data FILE");
  return corpus({std::istreambuf_iterator<char>(file), {}});
}

}  // namespace shakespeare
