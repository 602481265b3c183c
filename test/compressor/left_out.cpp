// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/left_out.hpp>

#include "../support/lone_rank.hpp"

#include <vector>

using namespace gradpress;
using namespace gradpress::test;

namespace {
using indices = std::vector<index_t>;
indices at(kernel::stream const& s) { return {s.indices, s.indices + s.count}; }
floats values(kernel::stream const& s) { return {s.values, s.values + s.count}; }
}  // namespace

TEST_CASE("fold keeps the largest of the union in place, and returns the rest") {
  lone_rank const me;
  indices mine_at{1, 4, 7};
  floats mine{5, -1, 3};
  indices const theirs_at{4, 6, 9};
  floats const theirs{-1, 9, 0.5f};
  auto const dropped = detail::fold(me.ctx, {mine_at.data(), mine.data(), 3}, {theirs_at.data(), theirs.data(), 3}, 3);
  CHECK(mine_at == indices{1, 6, 7});
  CHECK(mine == floats{5, 9, 3});
  CHECK(at(dropped) == indices{4, 9});
  CHECK(values(dropped) == floats{-2, 0.5f});
}

TEST_CASE("fold of messages that are empty") {
  lone_rank const me;
  indices mine_at(2);
  floats mine(2);
  auto const dropped = detail::fold(me.ctx, {mine_at.data(), mine.data(), 0}, {mine_at.data(), mine.data(), 0}, 2);
  CHECK(dropped.count == 0);
}

TEST_CASE("without returns what was sent under other indices") {
  lone_rank const me;
  indices const sent_at{0, 3, 5, 8};
  floats const sent{1, 2, 3, 4};
  kernel::stream const all{sent_at.data(), sent.data(), 4};
  auto const left = [&](indices const& kept) { return detail::without(me.ctx, all, kept); };
  CHECK(at(left({3, 4, 8, 9})) == indices{0, 5});
  CHECK(values(left({3, 4, 8, 9})) == floats{1, 3});
  CHECK(at(left({})) == sent_at);
  CHECK(left(sent_at).count == 0);
  CHECK(at(left({0})) == indices{3, 5, 8});
}
