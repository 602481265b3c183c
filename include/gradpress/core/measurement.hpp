// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a watched tensor did in one step, and the transport that counts what arrives meanwhile.

#include <gradpress/core/transport.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace gradpress {

/// One tensor, or one group, in one step, as this rank saw it. Norms are Euclidean, in double.
struct measurement {
  std::string_view tensor;  ///< its name, or the group's
  std::uint64_t step = 0;
  std::uint64_t elements = 0;
  std::size_t rows = 0, cols = 0;  ///< its shape; a group's are its elements by 1
  /// Its share of its lane's messages, headers included, by the size of its sections; shares add up to what was sent.
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;  ///< likewise: of a gather the others' messages, of a sum the sum
  double signal = 0;                 ///< norm of the signal: gradient and memory, as the feedback adds them
  double left_behind = 0;            ///< norm of the signal less what its own message holds of it, decoded
  double update_density = 0;         ///< share of entries of the update that are not zero: the union of what was sent
  double encode_seconds = 0, decode_seconds = 0;
  double exchange_seconds = 0;  ///< its lane's time, shared as the bytes are
  /// |S - P u| / (sqrt(1 - k/n) |S|), S being the sum of all signals, u the update and k its entries: at most 1 where
  /// the update loses no more of S than k entries drawn at random would. Empty unless asked for.
  std::optional<double> assumption{};
  /// S itself, rows x cols, row-major, in host memory, the same bits on all ranks; valid until the tensor's next step or
  /// `watch`. Empty unless asked for.
  std::span<float const> sum{};

  /// Bytes of the gradient as floats over bytes sent; 0 if nothing was sent.
  [[nodiscard]] double ratio() const noexcept {
    return bytes_sent == 0 ? 0 : 4 * static_cast<double>(elements) / static_cast<double>(bytes_sent);
  }
};

/// What is measured of a watched tensor beyond what costs little.
struct watch_options {
  /// The ratio of the gTop-k assumption. Costs a dense all-reduce and 4 bytes an element; all ranks must ask for it.
  bool assumption = false;
  /// The sum of all ranks' signals. The same sum at the same cost: once, where both are asked for.
  bool signals = false;
};

/// A transport that counts the bytes which arrive at this rank.
class counted_transport final : public transport {
  transport& inner_;
  std::uint64_t received_ = 0;

 public:
  explicit counted_transport(transport& inner) : inner_(inner) {}
  /// Bytes since the last call.
  [[nodiscard]] std::uint64_t take() noexcept {
    auto const all = received_;
    received_ = 0;
    return all;
  }

  [[nodiscard]] int rank() const override { return inner_.rank(); }
  [[nodiscard]] int size() const override { return inner_.size(); }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) override {
    inner_.all_gather(mine, all);
    received_ += all.size() - mine.size();
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                    std::span<std::byte> all) override {
    inner_.all_gather_v(mine, sizes, all);
    received_ += all.size() - mine.size();
  }
  void all_reduce_sum(scalar type, void* data, std::size_t n) override {
    inner_.all_reduce_sum(type, data, n);
    received_ += of_others(n * size_of(type));
  }
  void all_reduce_max(float* data, std::size_t n) override {
    inner_.all_reduce_max(data, n);
    received_ += of_others(n * sizeof(float));
  }
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) override {
    inner_.send_recv(to, out, from, in);
    received_ += from < 0 ? 0 : in.size();
  }
  void send_recv_v(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) override {
    inner_.send_recv_v(to, out, from, in);
    received_ += from < 0 ? 0 : in.size();
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) override {
    inner_.all_to_all(out, in);
    received_ += in.size() - in.size() / static_cast<std::size_t>(size());
  }
  void all_to_all_v(std::span<std::byte const> out, std::span<std::size_t const> out_sizes, std::span<std::byte> in,
                    std::span<std::size_t const> in_sizes) override {
    inner_.all_to_all_v(out, out_sizes, in, in_sizes);
    received_ += in.size() - in_sizes[static_cast<std::size_t>(rank())];
  }
  void abandon(std::string_view why) noexcept override { inner_.abandon(why); }

 private:
  [[nodiscard]] std::size_t of_others(std::size_t n) const { return size() > 1 ? n : 0; }
};

}  // namespace gradpress
