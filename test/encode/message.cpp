// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/message.hpp>

#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/all.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <string>

using namespace gradpress;
using namespace gradpress::test;

// The four forms: count or none, indices or none.
static_assert(message_layout<host, threshold, bf16>::counted && message_layout<host, threshold, bf16>::indexed);
static_assert(!message_layout<host, top_k, bf16>::counted && message_layout<host, top_k, bf16>::indexed);
static_assert(!message_layout<host, random_k, bf16>::counted && !message_layout<host, random_k, bf16>::indexed);
static_assert(!message_layout<host, select_all, bf16>::counted && !message_layout<host, select_all, bf16>::indexed);

namespace {
selection<host> kept_at(std::vector<index_t> const& indices) {
  selection<host> kept;
  kept.indices = buffer<host, index_t>("kept", indices.size());
  std::copy(indices.begin(), indices.end(), kept.indices.data());
  kept.count = indices.size();
  return kept;
}
/// The exact bytes of a section whose codes are all 0x11, over memory that held 0xee.
template <class S, class Q>
std::vector<std::byte> section(S const&, Q const& q, std::vector<index_t> const& indices) {
  using layout = message_layout<host, S, Q>;
  guarded<std::byte> out(layout::size(q, raw_index{}, 100, indices.size()));
  std::fill_n(out.get(), out.size(), std::byte{0xee});
  auto const codes = layout::write_head(q, raw_index{}, 100, kept_at(indices), bytes<host>(out.get(), out.size()));
  CHECK(codes.extent(0) == q.code_bytes(indices.size()));
  std::fill_n(codes.data(), codes.extent(0), std::byte{0x11});
  CHECK(out.intact());
  return out.values();
}
std::vector<std::byte> of(std::initializer_list<int> values) {
  std::vector<std::byte> all;
  for (int const v : values) all.push_back(static_cast<std::byte>(v));
  return all;
}
template <class S, class Q>
std::string refusal(S const& s, Q const& q, std::vector<std::byte> const& m, std::size_t n) {
  try {
    auto const l = message_layout<host, S, Q>::read(s, q, raw_index{}, in_bytes<host>(m.data(), m.size()), n);
    lone_rank r;
    l.check_indices(r.ctx, raw_index{}, n);
  } catch (payload_error const& e) {
    return e.what();
  }
  return "accepted";
}
}  // namespace

TEST_CASE("encode::message lays out count, indices, codes and zeros, as the wire page says") {
  CHECK(section(threshold{}, bf16{}, {1, 5, 258}) ==
        of({3, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 1, 0, 0, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0, 0}));
  CHECK(section(threshold{}, unquantized{}, {}) == of({0, 0, 0, 0}));
  CHECK(section(top_k{}, bf16{}, {7}) == of({7, 0, 0, 0, 0x11, 0x11, 0, 0}));
  CHECK(section(random_k{}, bf16{}, {7, 9, 11}) == of({0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0, 0}));
  CHECK(section(select_all{}, unquantized{}, {0}) == of({0x11, 0x11, 0x11, 0x11}));
  CHECK(section(select_all{}, unquantized{}, {}).empty());
}

TEST_CASE("encode::message reads back what it wrote") {
  stochastic_int const q{.bits = 2, .block = 64};
  for (std::size_t const count : law_sizes) {
    std::vector<index_t> indices(count);
    for (std::size_t i = 0; i < count; ++i) indices[i] = static_cast<index_t>(3 * i + 1);
    auto const m = section(threshold{}, q, indices);
    CHECK(m.size() % 4 == 0);
    auto const l =
        message_layout<host, threshold, stochastic_int>::read({}, q, {}, in_bytes<host>(m.data(), m.size()), 4000);
    CHECK(l.count == count);
    CHECK(std::vector<index_t>(l.indices.data(), l.indices.data() + l.indices.extent(0)) == indices);
    CHECK(l.codes.extent(0) == q.code_bytes(count));
    CHECK(std::all_of(l.codes.data(), l.codes.data() + l.codes.extent(0),
                      [](std::byte b) { return b == std::byte{0x11}; }));
    lone_rank r;
    CHECK_NOTHROW(l.check_indices(r.ctx, raw_index{}, 4000));
  }
}

TEST_CASE("encode::message refuses sizes and counts that do not fit, in words") {
  threshold const s;
  auto m = section(s, unquantized{}, {1, 5});  // 4 + 8 + 8 bytes
  CHECK(refusal(s, unquantized{}, m, 6) == "accepted");
  CHECK(refusal(s, unquantized{}, m, 1) == "claims 2 entries of at most 1");
  CHECK(refusal(s, unquantized{}, {}, 6) == "is too short for its count");
  CHECK(refusal(s, unquantized{}, of({1, 0, 0}), 6) == "is too short for its count");
  for (std::size_t size = 4; size < m.size(); ++size)
    CHECK(refusal(s, unquantized{}, {m.begin(), m.begin() + static_cast<std::ptrdiff_t>(size)}, 6) ==
          "has " + std::to_string(size) + " bytes where 2 entries need 20");
  m.push_back(std::byte{0});
  CHECK(refusal(s, unquantized{}, m, 6) == "has 21 bytes where 2 entries need 20");
  m.pop_back();
  m[3] = std::byte{0xff};  // a count near 2^32
  CHECK(refusal(s, unquantized{}, m, 6) == "claims 4278190082 entries of at most 6");
  top_k const half{.density = 0.5};
  auto const fixed = section(half, bf16{}, {0, 1, 2});
  CHECK(refusal(half, bf16{}, fixed, 6) == "accepted");
  CHECK(refusal(half, bf16{}, fixed, 8) == "has 20 bytes where 4 entries need 24");
  CHECK(refusal(select_all{}, unquantized{}, of({1, 2, 3}), 1) == "has 3 bytes where 1 entries need 4");
}

TEST_CASE("encode::message refuses indices that do not ascend inside the tensor, at every place and for every length") {
  char const* const wrong = "has indices that do not ascend inside the tensor";
  threshold const s;
  for (std::size_t const count : {1u, 2u, 16u, 17u, 18u, 33u, 100u})
    for (std::size_t at = 0; at < count; ++at) {
      std::vector<index_t> good(count);
      for (std::size_t i = 0; i < count; ++i) good[i] = static_cast<index_t>(2 * i);
      auto const n = 2 * count;
      CHECK(refusal(s, bf16{}, section(s, bf16{}, good), n) == "accepted");
      auto bad = good;
      bad[at] = static_cast<index_t>(n);  // out of range, and not ascending but for the last
      CHECK(refusal(s, bf16{}, section(s, bf16{}, bad), n) == wrong);
      bad[at] = 0xffffffffu;
      CHECK(refusal(s, bf16{}, section(s, bf16{}, bad), n) == wrong);
      if (at == 0) continue;
      bad = good;
      bad[at] = bad[at - 1];  // a duplicate
      CHECK(refusal(s, bf16{}, section(s, bf16{}, bad), n) == wrong);
      bad = good;
      std::swap(bad[at], bad[at - 1]);
      CHECK(refusal(s, bf16{}, section(s, bf16{}, bad), n) == wrong);
    }
}
