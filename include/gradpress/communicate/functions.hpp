// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Communicator: a struct of callables, so that any program plugs in without writing a class.

#include <gradpress/concepts/communicator.hpp>
#include <gradpress/core/error.hpp>

#include <functional>

namespace gradpress {

/// Fill in what your program has; `gather` is required, everything that stays empty is derived from it.
///
///     gp::function_communicator comm{
///         .my_rank = r, .world = P, .gather = [&](auto mine, auto all) { my_all_gather(mine, all); }};
///
/// Sums of types other than float are derived, at (P-1) m bytes received a rank: a transport that adds bytes or shorts
/// is worth a class of its own.
struct function_communicator {
  using bytes_in = std::span<std::byte const>;
  using bytes_out = std::span<std::byte>;

  int my_rank = 0;
  int world = 1;
  std::function<void(bytes_in mine, bytes_out all)> gather = {};
  std::function<void(bytes_in mine, std::span<std::size_t const> sizes, bytes_out all)> gather_v = {};
  std::function<void(std::span<float>)> sum_floats = {};
  std::function<void(std::span<float>)> max_floats = {};
  std::function<void(int to, bytes_in out, int from, bytes_out in)> exchange = {};
  std::function<void(bytes_in out, bytes_out in)> transpose = {};
  std::function<void(std::string_view why)> give_up = {};

  [[nodiscard]] int rank() const noexcept { return my_rank; }
  [[nodiscard]] int size() const noexcept { return world; }
  [[nodiscard]] bool offers(operation op) const {
    switch (op) {
      case operation::all_gather_v:
        return static_cast<bool>(gather_v);
      case operation::all_reduce_sum:
        return static_cast<bool>(sum_floats);
      case operation::all_reduce_max:
        return static_cast<bool>(max_floats);
      case operation::send_recv:
        return static_cast<bool>(exchange);
      case operation::all_to_all:
        return static_cast<bool>(transpose);
    }
    return false;
  }
  void all_gather(bytes_in mine, bytes_out all) const {
    if (!gather)
      throw configuration_error("function_communicator: 'gather' is empty; it is the one function that is required");
    gather(mine, all);
  }
  void all_gather_v(bytes_in mine, std::span<std::size_t const> sizes, bytes_out all) const {
    gather_v(mine, sizes, all);
  }
  void all_reduce_sum(std::span<float> x) const { sum_floats(x); }
  void all_reduce_max(std::span<float> x) const { max_floats(x); }
  void send_recv(int to, bytes_in out, int from, bytes_out in) const { exchange(to, out, from, in); }
  void all_to_all(bytes_in out, bytes_out in) const { transpose(out, in); }
  void abandon(std::string_view why) const noexcept {
    try {
      if (give_up) give_up(why);
    } catch (...) {  // this rank is failing already, and the first reason is the one to report
    }
  }
};

static_assert(communicator<function_communicator>);

}  // namespace gradpress
