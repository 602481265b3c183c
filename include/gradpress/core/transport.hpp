// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The communicator as exchanges see it: every collective, whether the user's type offers it or it was derived.
/// One virtual call a collective keeps the communicator's type out of every other template.

#include <gradpress/core/kind.hpp>

#include <cstddef>
#include <span>
#include <string_view>

namespace gradpress {

class transport {
 public:
  virtual ~transport() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  /// Equal sizes on all ranks; `all` holds size() blocks in rank order.
  virtual void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) = 0;
  /// Block r has sizes[r] bytes; every rank knows all sizes.
  virtual void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                            std::span<std::byte> all) = 0;
  /// In place; n elements of `type`; the same bits on every rank.
  virtual void all_reduce_sum(scalar type, void* data, std::size_t n) = 0;
  virtual void all_reduce_max(float* data, std::size_t n) = 0;
  /// Every rank calls; to or from may be -1, nobody.
  virtual void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) = 0;
  /// The same with sizes that differ from pair to pair; both ends of a message know its size.
  virtual void send_recv_v(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) = 0;
  /// size() equal blocks each way; block r goes to, comes from, rank r.
  virtual void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) = 0;
  /// Blocks of any sizes, end to end; both ends of a block know its size.
  virtual void all_to_all_v(std::span<std::byte const> out, std::span<std::size_t const> out_sizes,
                            std::span<std::byte> in, std::span<std::size_t const> in_sizes) = 0;
  /// This rank gives up: ranks that wait for it are released with an error, where the transport can do so.
  virtual void abandon(std::string_view why) noexcept = 0;
};

}  // namespace gradpress
