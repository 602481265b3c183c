// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Any communicator, as the transport that exchanges see.

#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/transport.hpp>

#include <memory>
#include <type_traits>
#include <utility>

namespace gradpress {

/// Holds a communicator by value, or by reference where C is an lvalue reference.
template <class C>
class transport_of final : public transport {
  C comm_;
  collective::room_t room_;

 public:
  explicit transport_of(C&& c) : comm_(std::forward<C>(c)) {}

  [[nodiscard]] int rank() const override { return const_cast<std::remove_cvref_t<C>&>(comm_).rank(); }
  [[nodiscard]] int size() const override { return const_cast<std::remove_cvref_t<C>&>(comm_).size(); }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) override { comm_.all_gather(mine, all); }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                    std::span<std::byte> all) override {
    collective::all_gather_v(comm_, mine, sizes, all, room_);
  }
  void all_reduce_sum(scalar type, void* data, std::size_t n) override {
    switch (type) {
      case scalar::f32:
        return sum<float>(data, n);
      case scalar::f64:
        return sum<double>(data, n);
      case scalar::i8:
        return sum<std::int8_t>(data, n);
      case scalar::i16:
        return sum<std::int16_t>(data, n);
      case scalar::i32:
        return sum<std::int32_t>(data, n);
      case scalar::bf16:
        return sum<bfloat16>(data, n);
      case scalar::f16:
        return sum<float16>(data, n);
    }
  }
  void all_reduce_max(float* data, std::size_t n) override {
    collective::all_reduce_max(comm_, std::span(data, n), room_);
  }
  void send_recv(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) override {
    collective::send_recv(comm_, to, out, from, in, room_);
  }
  void send_recv_v(int to, std::span<std::byte const> out, int from, std::span<std::byte> in) override {
    collective::send_recv_v(comm_, to, out, from, in, room_);
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) override {
    collective::all_to_all(comm_, out, in, room_);
  }
  void all_to_all_v(std::span<std::byte const> out, std::span<std::size_t const> out_sizes, std::span<std::byte> in,
                    std::span<std::size_t const> in_sizes) override {
    collective::all_to_all_v(comm_, out, out_sizes, in, in_sizes, room_);
  }
  void abandon(std::string_view why) noexcept override {
    if constexpr (concepts::has_abandon<std::remove_cvref_t<C>>) comm_.abandon(why);
  }

 private:
  template <class T>
  void sum(void* data, std::size_t n) {
    collective::all_reduce_sum(comm_, std::span(static_cast<T*>(data), n), room_);
  }
};

/// The transport of a communicator: of its own where C is no reference.
template <class C>
std::unique_ptr<transport> adapt(C&& c) {
  return std::make_unique<transport_of<C>>(std::forward<C>(c));
}

}  // namespace gradpress
