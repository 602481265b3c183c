// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/sum_stream.hpp>

#include "../support/lone_rank.hpp"

#include <array>
#include <map>

using namespace gradpress;
using namespace gradpress::test;

namespace {
struct sparse {
  std::vector<index_t> at;
  floats x;
  [[nodiscard]] kernel::stream view() const { return {at.data(), x.data(), at.size()}; }
};
sparse random_sparse(std::size_t n, double density, std::uint64_t seed) {
  sparse s;
  key const k = key{5}.with(seed);
  for (std::size_t i = 0; i < n; ++i)
    if (static_cast<double>(k.uniform(i)) < density)
      s.at.push_back(static_cast<index_t>(i)), s.x.push_back(k.uniform(i + n) - 0.5f);
  return s;
}
using message = std::vector<std::byte>;
message written(sparse const& s, std::size_t from, std::size_t n) {
  message m(4 + 8 * s.at.size() + 4 * n);
  m.resize(sum_stream::write(s.view(), from, n, m.data()));
  return m;
}
floats dense(message const& m, std::size_t n) {
  floats x(n);
  sum_stream::read(m.data(), m.size(), n).add_to(x.data());
  return x;
}
std::string complaint(std::vector<std::uint32_t> const& words, std::size_t n) {
  try {
    static_cast<void>(sum_stream::read(reinterpret_cast<std::byte const*>(words.data()), 4 * words.size(), n));
  } catch (payload_error const& e) {
    return e.what();
  }
  return "";
}
}  // namespace

TEST_CASE("encode::sum_stream: parts of a vector, as short as their form allows") {
  for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 1000u})
    for (double const density : {0.0, 0.1, 0.49, 0.5, 1.0})
      for (std::size_t parts = 1; parts <= 9; ++parts) {
        auto const s = random_sparse(n, density, n);
        floats whole(n), joined;
        for (std::size_t i = 0; i < s.at.size(); ++i) whole[s.at[i]] = s.x[i];
        for (std::size_t p = 0; p < parts; ++p) {
          auto const [from, length] = slice_of(n, p, parts);
          auto const m = written(s, from, length);
          auto const x = dense(m, length);
          joined.insert(joined.end(), x.begin(), x.end());
          std::size_t inside = 0;
          for (auto const i : s.at) inside += i >= from && i < from + length;
          CHECK(m.size() == 4 + std::min(8 * inside, 4 * length));
          CHECK(m.size() == sum_stream::read(m.data(), m.size(), length).size());
        }
        CHECK(identical(joined, whole));
      }
}

TEST_CASE("encode::sum_stream: a + b has the bits of b + a, in every pair of forms") {
  for (std::size_t const n : {1u, 31u, 32u, 33u, 1000u})
    for (double const first : {0.0, 0.1, 0.24, 0.26, 0.6, 1.0})
      for (double const second : {0.0, 0.1, 0.24, 0.26, 0.6, 1.0}) {
        auto const a = written(random_sparse(n, first, 1), 0, n), b = written(random_sparse(n, second, 2), 0, n);
        auto const x = sum_stream::read(a.data(), a.size(), n), y = sum_stream::read(b.data(), b.size(), n);
        auto const room = sum_stream::bytes_of(x.sparse.count + y.sparse.count, n);
        message ab(room), ba(room);
        bool const both_dense = x.dense != nullptr || y.dense != nullptr;
        if (both_dense) ab.resize(4 + 4 * n), ba.resize(4 + 4 * n);
        ab.resize(sum_stream::write_sum(x, y, ab.data()));
        ba.resize(sum_stream::write_sum(y, x, ba.data()));
        CHECK(ab == ba);
        CHECK(dense(ab, n) == plus(dense(a, n), dense(b, n)));
        CHECK(sum_stream::read(ab.data(), ab.size(), n).size() == ab.size());
      }
}

TEST_CASE("encode::sum_stream: many are added in their order, with the same bits sparse and dense") {
  constexpr std::size_t n = 1000;
  for (double const density : {0.01, 0.05, 0.2, 0.7}) {
    std::vector<message> kept;
    std::vector<sum_stream> all;
    floats expected(n);
    for (std::uint64_t p = 0; p < 8; ++p) kept.push_back(written(random_sparse(n, density, p), 0, n));
    for (auto const& m : kept) {
      all.push_back(sum_stream::read(m.data(), m.size(), n));
      expected = plus(expected, dense(m, n));
    }
    std::array<kernel::stream, 8> streams{};
    std::array<std::size_t, 8> next{};
    message out(8 * 8 * n);
    out.resize(sum_stream::write_sum(all, n, streams.data(), next.data(), out.data()));
    CHECK(dense(out, n) == expected);
    CHECK((sum_stream::read(out.data(), out.size(), n).dense == nullptr) == (density < 0.06));
  }
}

TEST_CASE("encode::sum_stream: entries that cancel stay, lone negative zeros and empty sums are legal") {
  sparse const plus_one{{3}, {1.f}}, minus_one{{3}, {-1.f}};
  auto const a = written(plus_one, 0, 40), b = written(minus_one, 0, 40);
  message sum(64);
  sum.resize(sum_stream::write_sum(sum_stream::read(a.data(), 12, 40), sum_stream::read(b.data(), 12, 40), sum.data()));
  CHECK(sum.size() == 4 + 8);
  CHECK(complaint({0}, 1) == "");
  CHECK(complaint({0xffffffffu}, 0) == "");
  CHECK(written({}, 0, 0).size() == 4);
}

TEST_CASE("encode::sum_stream believes no count, no index and no length") {
  CHECK(complaint({2, 1, 2, 0, 0}, 5) == "");
  CHECK(complaint({}, 5) == "is too short for the count of a sum");
  CHECK(complaint({2, 1, 2, 0}, 5) == "is too short for the entries of a sum");
  CHECK(complaint({2, 2, 1, 0, 0}, 5) == "has indices that do not ascend inside the tensor");
  CHECK(complaint({2, 1, 1, 0, 0}, 5) == "has indices that do not ascend inside the tensor");
  CHECK(complaint({2, 1, 5, 0, 0}, 5) == "has indices that do not ascend inside the tensor");
  CHECK(complaint({1, 0xffffffffu, 0}, 5) == "has indices that do not ascend inside the tensor");
  CHECK(complaint({3, 0, 1, 2, 0, 0, 0}, 5) == "claims 3 entries of a sum of 5, which would travel dense");
  CHECK(complaint({0xfffffffeu, 0, 0}, 5) == "claims 4294967294 entries of a sum of 5, which would travel dense");
  CHECK(complaint({0xffffffffu, 0, 0, 0, 0}, 5) == "is too short for a dense sum");
  CHECK(complaint({0xffffffffu, 0, 0, 0, 0, 0}, 5) == "");
  CHECK(complaint({0x7fffffffu}, 0xffffffffu) == "is too short for the entries of a sum");
}
