// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What decorators share: they offer what the inner communicator offers, and see every call.

#include <gradpress/concepts/communicator.hpp>

#include <utility>

namespace gradpress {

/// One call of a communicator, as a decorator sees it.
struct call {
  char const* name;
  std::size_t sent;      ///< bytes of this rank's contribution
  std::size_t received;  ///< bytes that arrive here, its own included where the operation returns them
  std::span<std::byte const> contribution = {};  ///< those bytes; a sum or maximum replaces them in place
  int to = -1, from = -1;                        ///< of send_recv
  std::size_t returned = 0;                      ///< of what is received, this rank's own
};

/// `Self::around(call, arrives, body)` runs `body`, after which `arrives` holds what came, and does whatever the
/// decorator is for. Inner is a type, which is held by value, or a reference.
template <class Self, class Inner>
class decorator {
 protected:
  Inner inner_;

 public:
  explicit decorator(Inner inner) : inner_(std::forward<Inner>(inner)) {}

  [[nodiscard]] int rank() { return inner_.rank(); }
  [[nodiscard]] int size() { return inner_.size(); }
  [[nodiscard]] std::remove_reference_t<Inner>& inner() { return inner_; }
  [[nodiscard]] bool offers(operation op) const {
    if constexpr (concepts::has_offers<Inner>) return inner_.offers(op);
    return true;
  }

  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    self().around({"all_gather", mine.size(), all.size(), mine, -1, -1, mine.size()}, all,
                  [&] { inner_.all_gather(mine, all); });
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                    std::span<std::byte> all) requires concepts::has_all_gather_v<Inner> {
    self().around({"all_gather_v", mine.size(), all.size(), mine, -1, -1, mine.size()}, all,
                  [&] { inner_.all_gather_v(mine, sizes, all); });
  }
  template <class T>
  requires concepts::has_all_reduce_sum<Inner, T>
  void all_reduce_sum(std::span<T> x) {
    auto const b = std::as_writable_bytes(x);
    self().around({"all_reduce_sum", b.size(), b.size(), b}, b, [&] { inner_.all_reduce_sum(x); });
  }
  void all_reduce_max(std::span<float> x) requires concepts::has_all_reduce_max<Inner> {
    auto const b = std::as_writable_bytes(x);
    self().around({"all_reduce_max", b.size(), b.size(), b}, b, [&] { inner_.all_reduce_max(x); });
  }
  void send_recv(int to, std::span<std::byte const> out, int from,
                 std::span<std::byte> in) requires concepts::has_send_recv<Inner> {
    auto const leaves = to < 0 ? std::span<std::byte const>{} : out;
    auto const arrives = from < 0 ? std::span<std::byte>{} : in;
    self().around({"send_recv", leaves.size(), arrives.size(), leaves, to, from}, arrives,
                  [&] { inner_.send_recv(to, out, from, in); });
  }
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) requires concepts::has_all_to_all<Inner> {
    auto const own = out.size() / static_cast<std::size_t>(size());
    self().around({"all_to_all", out.size(), in.size(), out, -1, -1, own}, in, [&] { inner_.all_to_all(out, in); });
  }
  void abandon(std::string_view why) noexcept requires concepts::has_abandon<Inner> { inner_.abandon(why); }

 private:
  Self& self() { return static_cast<Self&>(*this); }
};

}  // namespace gradpress
