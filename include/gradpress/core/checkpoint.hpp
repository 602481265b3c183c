// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A rank's state as bytes, keyed by tensor name and field name, so that neither order nor grouping matters.
///
///     "GPRC" u32 version | u32 rank u32 world u64 step u64 seed u64 fields |
///     field: u32 length, tensor name | u32 length, method | u32 length, field name | u64 count, floats |
///     u64 checksum of everything before
///
/// All little-endian. docs/wire.md is the specification.

#include <gradpress/core/checksum.hpp>
#include <gradpress/core/error.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <istream>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gradpress::checkpoint {

struct header {
  std::uint32_t rank = 0, world = 1;
  std::uint64_t step = 0, seed = 0;
};
struct field {
  std::string tensor, method, name;
  std::span<float> values;
};
/// Knobs of a tensor that differ from those of its method: a field without values, called "knobs " and their text.
struct knobs {
  std::string tensor, method, text;
};

namespace detail {
inline constexpr std::uint32_t magic = 0x43525047;  // "GPRC"
inline constexpr std::uint32_t version = 1;
inline constexpr std::string_view knobs_are = "knobs ";

class writer {
  std::vector<std::byte> bytes_;

 public:
  void raw(void const* p, std::size_t n) {
    auto const* b = static_cast<std::byte const*>(p);
    bytes_.insert(bytes_.end(), b, b + n);
  }
  template <class T>
  void number(T v) {
    raw(&v, sizeof v);
  }
  void text(std::string const& s) {
    number(static_cast<std::uint32_t>(s.size()));
    raw(s.data(), s.size());
  }
  [[nodiscard]] std::vector<std::byte> const& bytes() const { return bytes_; }
};

class reader {
  std::span<std::byte const> left_;
  std::string const& who_;

 public:
  reader(std::span<std::byte const> b, std::string const& who) : left_(b), who_(who) {}
  void raw(void* p, std::size_t n) {
    auto const from = take(n);
    if (n > 0) std::memcpy(p, from.data(), n);
  }
  std::span<std::byte const> take(std::size_t n) {
    if (n > left_.size()) throw state_error(who_ + "the checkpoint is truncated; use another copy");
    auto const part = left_.first(n);
    left_ = left_.subspan(n);
    return part;
  }
  template <class T>
  T number() {
    T v{};
    raw(&v, sizeof v);
    return v;
  }
  std::string text() {
    auto const part = take(number<std::uint32_t>());
    return {reinterpret_cast<char const*>(part.data()), part.size()};
  }
  [[nodiscard]] bool done() const { return left_.empty(); }
};
}  // namespace detail

inline void write(std::ostream& to, header const& h, std::vector<field> const& fields,
                  std::vector<knobs> const& changed = {}) {
  detail::writer w;
  w.number(detail::magic);
  w.number(detail::version);
  w.number(h.rank), w.number(h.world), w.number(h.step), w.number(h.seed);
  w.number(static_cast<std::uint64_t>(fields.size() + changed.size()));
  for (auto const& f : fields) {
    w.text(f.tensor), w.text(f.method), w.text(f.name);
    w.number(static_cast<std::uint64_t>(f.values.size()));
    w.raw(f.values.data(), f.values.size_bytes());
  }
  for (auto const& c : changed) {
    w.text(c.tensor), w.text(c.method), w.text(std::string(detail::knobs_are) + c.text);
    w.number(std::uint64_t{0});
  }
  w.number(checksum(w.bytes()));
  to.write(reinterpret_cast<char const*>(w.bytes().data()), static_cast<std::streamsize>(w.bytes().size()));
  if (!to)
    throw state_error("gradpress: rank " + std::to_string(h.rank) +
                      ": the checkpoint could not be written; check the disk");
}

/// Fills what `accept(changed)` returns, once it has taken the knobs; it may throw. Everything is checked before
/// anything is written. Returns the header that was read.
template <class Accept>
header read(std::istream& from, header const& here, Accept const& accept) {
  auto const who = "gradpress: rank " + std::to_string(here.rank) + ": ";
  std::vector<char> const text{std::istreambuf_iterator<char>(from), {}};
  auto const all = std::as_bytes(std::span(text));
  if (text.empty())
    throw state_error(who + "nothing could be read of the checkpoint; see that the file exists and was opened");
  detail::reader r(all, who);
  if (r.number<std::uint32_t>() != detail::magic) throw state_error(who + "this is not a gradpress checkpoint");
  if (auto const v = r.number<std::uint32_t>(); v != detail::version)
    throw state_error(who + "the checkpoint has format " + std::to_string(v) + ", this library reads " +
                      std::to_string(detail::version));
  if (all.size() < 8 + 8) throw state_error(who + "the checkpoint is truncated; use another copy");
  std::uint64_t sum = 0;
  std::memcpy(&sum, all.data() + all.size() - 8, 8);
  if (sum != checksum(all.first(all.size() - 8)))
    throw state_error(who + "the checkpoint is damaged or truncated; use another copy");
  header h;
  h.rank = r.number<std::uint32_t>(), h.world = r.number<std::uint32_t>();
  h.step = r.number<std::uint64_t>(), h.seed = r.number<std::uint64_t>();
  if (h.world != here.world)
    throw state_error(who + "the checkpoint is of " + std::to_string(h.world) + " ranks, this world has " +
                      std::to_string(here.world) + "; resume with as many ranks");
  if (h.rank != here.rank)
    throw state_error(who + "the checkpoint is of rank " + std::to_string(h.rank) + "; load each rank's own file");
  if (h.seed != here.seed)
    throw state_error(who + "the checkpoint was made with seed " + std::to_string(h.seed) + ", this reducer has " +
                      std::to_string(here.seed));

  struct saved {
    std::string tensor, method, name;
    std::size_t size;
    std::span<std::byte const> values;
  };
  auto const count = r.number<std::uint64_t>();
  std::vector<saved> pieces;
  std::vector<knobs> changed;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto const tensor = r.text(), method = r.text(), name = r.text();
    auto const size = r.number<std::uint64_t>();
    if (size > all.size()) throw state_error(who + "the checkpoint is damaged; use another copy");
    auto const values = r.take(size * sizeof(float));
    if (name.starts_with(detail::knobs_are))
      changed.push_back({tensor, method, name.substr(detail::knobs_are.size())});
    else
      pieces.push_back({tensor, method, name, size, values});
  }

  std::vector<field> const fields = accept(changed);
  std::vector<std::pair<field const*, std::span<std::byte const>>> found;
  for (auto const& [tensor, method, name, size, values] : pieces) {
    field const* match = nullptr;
    bool known = false;
    for (auto const& f : fields) {
      known |= f.tensor == tensor;
      if (f.tensor == tensor && f.name == name) match = &f;
    }
    auto const what = who + "tensor '" + tensor + "': ";
    if (!known) throw state_error(what + "is in the checkpoint and not in this reducer; add it before loading");
    if (match != nullptr && match->method != method)
      throw state_error(what + "was saved by " + method + " and is now " + match->method + "; use the same method");
    if (match == nullptr)
      throw state_error(what + "its method has no state named '" + name + "'; it was saved by " + method);
    if (match->values.size() != size)
      throw state_error(what + "has " + std::to_string(match->values.size()) + " values of '" + name + "' here and " +
                        std::to_string(size) + " in the checkpoint; use the same shape");
    found.emplace_back(match, values);
  }
  for (auto const& f : fields) {
    bool loaded = false;
    for (auto const& [match, values] : found) loaded |= match == &f;
    if (!loaded)
      throw state_error(who + "tensor '" + f.tensor + "': has state '" + f.name +
                        "' that is not in the checkpoint; it was added after the save");
  }
  for (auto const& [match, values] : found)
    if (!values.empty()) std::memcpy(match->values.data(), values.data(), values.size());
  return h;
}
inline header read(std::istream& from, header const& here, std::vector<field> const& fields) {
  return read(from, here, [&](std::vector<knobs> const&) { return fields; });
}

/// A text behind its size, a u64: what others may follow in the same stream.
inline void write_sized(std::ostream& to, std::string const& text) {
  auto const size = static_cast<std::uint64_t>(text.size());
  to.write(reinterpret_cast<char const*>(&size), sizeof size);
  to.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!to) throw state_error("gradpress: the checkpoint could not be written; check the disk");
}
/// Reads what `write_sized` wrote, and no further; throws `state_error(otherwise)` where the stream does not hold it.
inline std::istringstream read_sized(std::istream& from, std::string const& otherwise) {
  std::uint64_t size = 0;
  from.read(reinterpret_cast<char*>(&size), sizeof size);
  std::string text;
  for (char block[4096]; from && text.size() < size;) {  // a size that is damaged asks for no memory
    from.read(block, static_cast<std::streamsize>(std::min<std::uint64_t>(sizeof block, size - text.size())));
    text.append(block, static_cast<std::size_t>(from.gcount()));
  }
  if (text.size() != size || size == 0) throw state_error(otherwise);
  return std::istringstream(std::move(text));
}

}  // namespace gradpress::checkpoint
