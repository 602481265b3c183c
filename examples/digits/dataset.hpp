// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The digits: reading, normalising, splitting, and dealing them out to the ranks. The same on every machine.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace digits {

inline constexpr std::size_t pixels = 64;
inline constexpr int classes = 10;

/// An image of 8 x 8 pixels, row by row, each in 0..1, and the digit that it shows.
struct sample {
  std::array<float, pixels> image{};
  int label = 0;
};

/// Reads lines of 64 pixels in 0..16 and a digit. Throws `std::runtime_error` that names the file and the line.
inline std::vector<sample> read_samples(std::string const& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open '" + path + "'; name the data with --data FILE");

  std::vector<sample> all;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    auto const fail = [&](std::string const& why) {
      throw std::runtime_error(path + ", line " + std::to_string(number) + ": " + why);
    };
    if (!line.empty() && line.back() == '\r') line.pop_back();
    sample s;
    std::size_t column = 0;
    for (std::size_t at = 0; at <= line.size(); ++column) {
      auto const comma = std::min(line.find(',', at), line.size());
      auto const field = line.substr(at, comma - at);
      at = comma + 1;
      if (column > pixels) fail("more than " + std::to_string(pixels + 1) + " columns");
      if (field.empty() || field.size() > 2 || field.find_first_not_of("0123456789") != std::string::npos)
        fail("column " + std::to_string(column + 1) + " is '" + field + "', which is not a small whole number");
      int const value = std::stoi(field);
      int const most = column < pixels ? 16 : classes - 1;
      if (value > most)
        fail("column " + std::to_string(column + 1) + " is " + field + ", beyond " + std::to_string(most));
      if (column < pixels)
        s.image[column] = static_cast<float>(value) / 16.f;
      else
        s.label = value;
    }
    if (column != pixels + 1)
      fail(std::to_string(column) + " columns where " + std::to_string(pixels + 1) + " are needed");
    all.push_back(s);
  }
  if (all.empty()) throw std::runtime_error(path + ": there is not a single sample in it");
  return all;
}

/// A permutation of 0..n-1. Not std::shuffle, whose result differs between standard libraries.
inline std::vector<std::size_t> permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 random(seed);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  return order;
}

/// Four fifths to train on and one fifth to test on; always the same split, whatever the seed of a run.
struct dataset {
  std::vector<sample> train, test;

  explicit dataset(std::vector<sample> const& all) {
    auto const order = permutation(all.size(), 2024);
    auto const tests = all.size() / 5;
    for (std::size_t i = 0; i < order.size(); ++i) (i < tests ? test : train).push_back(all[order[i]]);
  }

  /// The samples of one rank in one epoch, in order. All ranks shuffle alike and take every size-th sample, so that
  /// shards are disjoint and equally long; fewer than `size` samples are left out, others in each epoch.
  [[nodiscard]] std::vector<std::size_t> shard(int rank, int size, std::uint64_t seed, int epoch) const {
    auto const order = permutation(train.size(), seed * 1000003 + static_cast<std::uint64_t>(epoch));
    auto const length = train.size() / static_cast<std::size_t>(size);
    std::vector<std::size_t> mine(length);
    for (std::size_t i = 0; i < length; ++i)
      mine[i] = order[i * static_cast<std::size_t>(size) + static_cast<std::size_t>(rank)];
    return mine;
  }
};

}  // namespace digits
