// SPDX-License-Identifier: Apache-2.0
#include <gradpress/method/mirrored_history.hpp>

#include "../support/lone_rank.hpp"

#include <map>
#include <set>

using namespace gradpress;
using namespace gradpress::test;

namespace {
using history = mirrored_history<host>;

void write(history& h, int ranks, float value) {
  for (int p = 0; p < ranks; ++p)
    for (std::size_t i = 0; i < h.next(p).extent(0); ++i) h.next(p)(i) = value + 100 * static_cast<float>(p);
}
std::map<std::string, floats> seen(history& h) {
  std::map<std::string, floats> all;
  h.visit([&](char const* name, buffer<host> b) { all[name] = copied(b); });
  return all;
}
}  // namespace

TEST_CASE("method::mirrored_history: the newest comes first, and as many are known as were pushed, up to the order") {
  for (int order = 1; order <= 4; ++order) {
    history h(host{}, 0, 3, order, 2);
    CHECK(h.known() == 0);
    for (int s = 1; s <= 9; ++s) {
      write(h, 3, static_cast<float>(s));
      h.push();
      CHECK(h.known() == std::min(s, order));
      for (int p = 0; p < 3; ++p)
        for (int lag = 1; lag <= h.known(); ++lag)
          CHECK(h.past(p, lag)(1) == static_cast<float>(s - lag + 1) + 100 * static_cast<float>(p));
    }
  }
}

TEST_CASE("method::mirrored_history: a pop takes the last push back, the oldest included, and no other") {
  for (int order = 1; order <= 3; ++order)
    for (int pushed = 0; pushed <= 5; ++pushed) {
      history h(host{}, 0, 2, order, 3);
      h.pop();
      CHECK(h.known() == 0);
      for (int s = 1; s <= pushed; ++s) write(h, 2, static_cast<float>(s)), h.push();
      auto const before = seen(h);
      auto const sum = h.checksum(1);
      write(h, 2, 77), h.push();
      CHECK(seen(h) != before);
      h.pop();
      CHECK(seen(h) == before);
      CHECK(h.checksum(1) == sum);
      h.pop();  // there is nothing more to take back
      CHECK(seen(h) == before);
    }
}

TEST_CASE("method::mirrored_history: what is next is nobody's past, and only what is known counts") {
  history h(host{}, 0, 2, 2, 5);
  write(h, 2, 1), h.push();
  auto const before = seen(h);
  auto const sum = h.checksum(0);
  write(h, 2, 9);
  CHECK(seen(h) == before);
  CHECK(h.checksum(0) == sum);
  h.past(0, 2)(3) = 4;  // not known yet
  CHECK(h.checksum(0) == sum);
  h.past(1, 1)(3) = 4;  // another rank's
  CHECK(h.checksum(0) == sum);
  h.past(0, 1)(3) = std::nextafter(h.past(0, 1)(3), 2.f);
  CHECK(h.checksum(0) != sum);
}

TEST_CASE("method::mirrored_history: of some ranks alone, by their own numbers") {
  history h(host{}, 3, 1, 2, 4);
  for (std::size_t i = 0; i < 4; ++i) h.next(3)(i) = 5;
  h.push();
  CHECK(h.past(3, 1)(2) == 5);
  auto const all = seen(h);
  CHECK((all.size() == 3 && all.contains("rank3.lag1") && all.contains("rank3.lag2")));
}

TEST_CASE("method::mirrored_history: checkpoints see every lag by name, and a count that makes no sense is none") {
  history h(host{}, 0, 2, 3, 4);
  std::set<std::string> names;
  h.visit([&](char const* name, buffer<host> b) {
    names.insert(name);
    if (b.extent(0) == 1) b(0) = std::numeric_limits<float>::quiet_NaN();
  });
  CHECK(names == std::set<std::string>{"rank0.lag1", "rank0.lag2", "rank0.lag3", "rank1.lag1", "rank1.lag2",
                                       "rank1.lag3", "known"});
  CHECK(h.known() == 0);
  h.visit([](char const*, buffer<host> b) {
    if (b.extent(0) == 1) b(0) = 12;
  });
  CHECK(h.known() == 3);
}
