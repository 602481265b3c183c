// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/adapt.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

using namespace gradpress;

namespace {
/// A world of one that counts its calls, offers the one required operation and hears about failures.
struct lonely {
  int* calls;
  std::string* last_words;
  lonely(int& c, std::string& w) : calls(&c), last_words(&w) {}
  lonely(lonely&&) = default;
  lonely(lonely const&) = delete;
  int rank() { return 0; }
  int size() { return 1; }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    ++*calls;
    if (!mine.empty()) std::memcpy(all.data(), mine.data(), mine.size());
  }
  void abandon(std::string_view why) noexcept { last_words->assign(why); }
};

template <class T>
void check_sum_of_one(transport& t, scalar type, T value) {
  std::vector<T> x(5, value);
  t.all_reduce_sum(type, x.data(), x.size());
  for (auto const& v : x) CHECK(std::memcmp(&v, &value, sizeof v) == 0);
}
}  // namespace

TEST_CASE("communicate::adapt: an lvalue is referred to, an rvalue moves in, and neither is copied") {
  int calls = 0;
  std::string words;
  lonely mine(calls, words);
  transport_of<lonely&> refers(mine);
  transport_of<lonely> owns(lonely(calls, words));
  std::byte const b{7};
  for (transport* t : {static_cast<transport*>(&refers), static_cast<transport*>(&owns)}) {
    std::byte all{0};
    t->all_gather({&b, 1}, {&all, 1});
    CHECK(all == b);
    CHECK(t->rank() == 0);
    CHECK(t->size() == 1);
  }
  CHECK(calls == 2);
}

TEST_CASE("communicate::adapt: every scalar has its sum, and giving up is passed on") {
  int calls = 0;
  std::string words;
  transport_of<lonely> t(lonely(calls, words));
  check_sum_of_one(t, scalar::f32, 1.5f);
  check_sum_of_one(t, scalar::f64, -2.5);
  check_sum_of_one(t, scalar::i8, std::int8_t{-128});
  check_sum_of_one(t, scalar::i16, std::int16_t{1234});
  check_sum_of_one(t, scalar::i32, std::int32_t{-70000});
  check_sum_of_one(t, scalar::bf16, to_bfloat16(0.1f));
  check_sum_of_one(t, scalar::f16, to_float16(0.1f));
  float m[] = {-1.f, 3.f};
  t.all_reduce_max(m, 2);
  CHECK(m[0] == -1.f);
  CHECK(m[1] == 3.f);
  t.abandon("no more");
  CHECK(words == "no more");
}
