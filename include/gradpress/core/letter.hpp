// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// One fused message: the sections of all tensors that share a lane, in one phase. docs/wire.md is its specification.

#include <gradpress/core/checksum.hpp>
#include <gradpress/core/coder.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/core/kind.hpp>
#include <gradpress/core/memory.hpp>

#include <cstring>
#include <string>
#include <vector>

namespace gradpress {

/// In front of every gathered or merged letter; sums carry none, since it would be summed. Little-endian.
struct letter_header {
  static constexpr std::uint32_t expected_magic = 0x53525047;  // "GPRS"
  static constexpr std::uint16_t expected_version = 2;

  std::uint32_t magic = expected_magic;
  std::uint16_t version = expected_version;
  std::uint16_t phase = 0;
  std::uint64_t step = 0;
  std::uint64_t length = 0;    ///< bytes after the header
  std::uint64_t checksum = 0;  ///< of the bytes after the header
};
static_assert(sizeof(letter_header) == 32);

/// Memory that grows and never shrinks; contents do not survive growth.
template <class Exec>
class growing {
  buffer<Exec, std::byte> block_;

 public:
  bytes<Exec> room(std::size_t n) {
    if (n > block_.extent(0)) {
      block_ = {};
      block_ = unwritten<Exec, std::byte>("gradpress::message", n + n / 8);
    }
    return part(block_, 0, n);
  }
};

template <class Exec>
class letter {
 public:
  struct section {
    coder<Exec>* who;
    std::uint64_t tensor;  ///< the tensor's key, a digest of its name
    std::size_t at, size;
    std::size_t first = 0, count = 0;  ///< of its messages in `arrived`
  };

  explicit letter(message_kind k) : kind(k) {}

  message_kind const kind;
  std::vector<section> sections;
  arrival_form form = arrival_form::sum;
  int way = 0;                 ///< of an exchange that has several; equal on all ranks
  std::uint64_t sent = 0;      ///< bytes that this rank contributed to its collectives in this phase
  std::uint64_t messages = 0;  ///< collectives called
  std::string complaint;       ///< what was wrong with something that arrived; the step ends with it on all ranks
  bool overflowed = false;     ///< the complaint is about honest messages whose sum is not finite

  /// Sums and maxima of fixed size travel bare, since a header would be summed; everything else behind a header.
  [[nodiscard]] std::size_t header_bytes() const noexcept {
    bool const adds_up = kind.combines == combination::sum || kind.combines == combination::max;
    return adds_up && kind.fixed_size ? 0 : sizeof(letter_header);
  }
  /// A letter of variable size starts with a u32 size for each of its sections.
  [[nodiscard]] std::size_t table_bytes() const noexcept { return kind.fixed_size ? 0 : 4 * sections_expected_; }
  /// Makes room for `expected` sections of `capacity` bytes in all.
  void open(std::size_t capacity, std::size_t expected) {
    sections_expected_ = expected;
    sections.clear();
    arrived.clear();
    complaint.clear();
    overflowed = false;
    sent = messages = 0;
    used_ = header_bytes() + table_bytes();
    mine_ = mine_block_.room(used_ + capacity);
  }
  [[nodiscard]] bytes<Exec> room(std::size_t capacity) { return part(mine_, used_, capacity); }
  void add(coder<Exec>* who, std::uint64_t tensor, std::size_t size) {
    if (!kind.fixed_size) {
      auto const entry = static_cast<std::uint32_t>(size);
      std::memcpy(mine_.data() + header_bytes() + 4 * sections.size(), &entry, 4);
    }
    sections.push_back({who, tensor, used_, size});
    used_ += size;
  }
  /// The step context as the section's own tensor sees it.
  [[nodiscard]] static step<Exec> context_of(step<Exec> const& ctx, section const& s) {
    auto own = ctx;
    own.tensor = s.tensor;
    return own;
  }
  /// The whole letter of this rank, header included.
  [[nodiscard]] bytes<Exec> mine() const { return part(mine_, 0, used_); }
  [[nodiscard]] bytes<Exec> inbox(std::size_t n) { return inbox_block_.room(n); }
  [[nodiscard]] bytes<Exec> outbox(std::size_t n) { return outbox_block_.room(n); }

  /// Fills the header of a message that starts at m.
  static void seal(step<Exec> const& ctx, bytes<Exec> m) {
    letter_header h;
    h.phase = static_cast<std::uint16_t>(ctx.phase);
    h.step = ctx.number;
    h.length = m.extent(0) - sizeof h;
    h.checksum = gradpress::checksum({m.data() + sizeof h, h.length});
    std::memcpy(m.data(), &h, sizeof h);
  }
  /// False, with a complaint, if m is not a letter that rank `from` wrote for this step and phase.
  bool opens(step<Exec> const& ctx, in_bytes<Exec> m, int from) {
    letter_header h;
    if (m.extent(0) >= sizeof h) {
      std::memcpy(&h, m.data(), sizeof h);
      char const* why = h.magic != letter_header::expected_magic       ? "is not a gradpress message"
                        : h.version != letter_header::expected_version ? "has another wire version"
                        : h.step != ctx.number || h.phase != ctx.phase ? "belongs to another step or phase"
                        : h.length != m.extent(0) - sizeof h           ? "is truncated"
                        : h.checksum != gradpress::checksum({m.data() + sizeof h, h.length}) ? "fails its checksum"
                                                                                             : nullptr;
      if (why == nullptr) return true;
      complain(std::string("the message from rank ") + std::to_string(from) + ' ' + why);
    } else {
      complain(std::string("the message from rank ") + std::to_string(from) + " is shorter than its header");
    }
    return false;
  }
  /// The first complaint stands.
  void complain(std::string text, bool of_overflow = false) {
    if (!complaint.empty()) return;
    complaint = std::move(text);
    overflowed = of_overflow;
  }

  /// Every base points at a letter with the layout of `mine`.
  void deliver(arrival_form f, std::span<std::byte const* const> from) {
    form = f;
    for (auto& s : sections) {
      s.first = arrived.size();
      s.count = from.size();
      for (auto const* base : from) arrived.emplace_back(base + s.at, s.size);
    }
  }
  [[nodiscard]] arrival<Exec> arrival_of(section const& s) const {
    return {std::span<in_bytes<Exec> const>(arrived).subspan(s.first, s.count), form};
  }

  std::vector<in_bytes<Exec>> arrived;
  std::vector<std::byte const*> bases;  ///< scratch of exchanges, kept so that no step allocates
  std::vector<std::size_t> sizes;       ///< likewise

 private:
  growing<Exec> mine_block_, inbox_block_, outbox_block_;
  bytes<Exec> mine_;
  std::size_t used_ = 0, sections_expected_ = 0;
};

GRADPRESS_CLASS_ONCE(letter);

}  // namespace gradpress
