// SPDX-License-Identifier: Apache-2.0
#include <gradpress/communicate/derived.hpp>

#include "../support/communicator_laws.hpp"

#include <gradpress/communicate/threads.hpp>

using namespace gradpress;

namespace {
template <class T, class Bare = test::gather_only<thread_communicator>>
void same_bits(thread_communicator& c, std::size_t n) {
  Bare bare{c};
  collective::room_t room;
  auto native = test::numbers<T>(c.rank(), n), derived = native;
  c.all_reduce_sum(std::span(native));
  collective::all_reduce_sum(bare, std::span(derived), room);
  test::demand(n == 0 || std::memcmp(native.data(), derived.data(), n * sizeof(T)) == 0,
               "derived sums are native sums");
  // in rank order, one element at a time
  auto const inputs = test::numbers_of_all<T>(c.size(), n);
  for (std::size_t i = 0; i < n; ++i) {
    using fold = collective::detail::sum<T>;
    auto sum = fold::widen(inputs[0][i]);
    for (std::size_t p = 1; p < inputs.size(); ++p) sum = fold::join(sum, fold::widen(inputs[p][i]));
    test::demand(derived[i] == fold::close(sum), "sums are formed in rank order");
  }
}

/// Counts what the one required operation is asked to carry.
struct meter {
  thread_communicator inner;
  std::size_t calls = 0, bytes = 0;
  int rank() { return inner.rank(); }
  int size() { return inner.size(); }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) {
    inner.all_gather(mine, all);
    ++calls, bytes += all.size() - mine.size();
  }
};
/// Offers all_to_all too, as transports do that cannot add.
struct mover : meter {
  explicit mover(thread_communicator& c) : meter{c} {}
  void all_to_all(std::span<std::byte const> out, std::span<std::byte> in) {
    inner.all_to_all(out, in);
    ++calls, bytes += in.size() - in.size() / static_cast<std::size_t>(size());
  }
};
}  // namespace

TEST_CASE("communicate::derived: long sums by all_to_all have the same bits and move 2/P of the bytes") {
  static constexpr auto least = collective::detail::worth_a_shuffle;
  for (int P : {2, 3, 4, 5, 9})
    run_ranks(P, [](thread_communicator& c) {
      for (auto const n : {least - 1, least, least + 1, least + 5}) {
        same_bits<float, mover>(c, n);
        same_bits<std::int8_t, mover>(c, n);
        same_bits<bfloat16, mover>(c, n);
        same_bits<float16, mover>(c, n);
      }
      mover counted{c};
      collective::room_t room;
      std::vector<bfloat16> x(least + 1);
      collective::all_reduce_sum(counted, std::span(x), room);
      auto const ranks = static_cast<std::size_t>(c.size()), part = (x.size() + ranks - 1) / ranks;
      auto const expected = ranks == 2 ? x.size() : 2 * (ranks - 1) * part;
      test::demand(counted.bytes == 2 * expected, "2 (P-1)/P m bytes arrive");
      test::demand(counted.calls == (ranks == 2 ? 1u : 2u), "one gather, or two messages");
    });
}

TEST_CASE("communicate::derived: everything follows from all_gather, with the bits of the native operations") {
  for (int P : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
    CAPTURE(P);
    run_ranks(P, [](thread_communicator& c) {
      test::gather_only bare{c};
      test::check_communicator(bare);
      for (std::size_t n : {0u, 1u, 31u, 33u, 255u, 256u, 257u, 4097u}) {
        same_bits<float>(c, n);
        same_bits<double>(c, n);
        same_bits<std::int8_t>(c, n);
        same_bits<std::int16_t>(c, n);
        same_bits<std::int32_t>(c, n);
        same_bits<bfloat16>(c, n);
        same_bits<float16>(c, n);
      }
    });
  }
}

TEST_CASE("communicate::derived: narrow sums round once, where adding in 16 bits would lose the small ones") {
  run_ranks(9, [](thread_communicator& c) {
    test::gather_only bare{c};
    collective::room_t room;
    std::vector<bfloat16> x(300, to_bfloat16(c.rank() == 0 ? 256.f : 1.f));  // bfloat16: 256 + 1 is 256
    collective::all_reduce_sum(bare, std::span(x), room);
    for (auto const v : x) test::demand(to_float(v) == 264.f, "one rounding");
  });
}

TEST_CASE("communicate::derived: narrow sums are float sums, not double sums") {
  run_ranks(3, [](thread_communicator& c) {
    test::gather_only bare{c};
    collective::room_t room;
    float const terms[] = {0x1p24f, 1.f, -0x1p24f};  // 2^24 + 1 is 2^24 in float
    std::vector<bfloat16> x(300, to_bfloat16(terms[c.rank()]));
    collective::all_reduce_sum(bare, std::span(x), room);
    for (auto const v : x) test::demand(to_float(v) == 0.f, "float accumulates");
  });
}

TEST_CASE("communicate::derived costs what its page says") {
  for (int P : {1, 2, 5})
    run_ranks(P, [P](thread_communicator& c) {
      meter m{c};
      collective::room_t room;
      auto const received = [&](std::size_t bytes) {
        test::demand(m.calls == 1 && m.bytes == bytes, "one all_gather, of the documented size");
        m.calls = m.bytes = 0;
      };
      auto const others = static_cast<std::size_t>(P - 1), all = static_cast<std::size_t>(P);
      std::vector<float> x(100);
      collective::all_reduce_sum(m, std::span(x), room), received(others * 400);
      collective::all_reduce_max(m, std::span(x), room), received(others * 400);
      std::vector<std::byte> out(all * 8), in(all * 8);
      collective::all_to_all(m, std::span<std::byte const>(out), std::span(in), room), received(others * all * 8);
      collective::send_recv(m, -1, std::span<std::byte const>(out), -1, std::span(in), room),
          received(others * all * 8);
      std::vector<std::size_t> sizes(all, 3);
      sizes.back() = 10;
      std::vector<std::byte> mine(sizes[static_cast<std::size_t>(c.rank())]), joined(3 * others + 10);
      collective::all_gather_v(m, std::span<std::byte const>(mine), sizes, std::span(joined), room),
          received(others * 10);
    });
}

TEST_CASE("communicate::derived: scratch stops growing") {
  run_ranks(3, [](thread_communicator& c) {
    test::gather_only bare{c};
    collective::room_t room;
    auto const once = [&] {
      std::vector<float> x(500);
      std::vector<std::byte> out(300), in(300);
      collective::all_reduce_sum(bare, std::span(x), room);
      collective::all_to_all(bare, std::span<std::byte const>(out), std::span(in), room);
    };
    once();
    auto const* where = room.data();
    auto const size = room.size();
    for (int repeat = 0; repeat < 3; ++repeat) once();
    test::demand(room.data() == where && room.size() == size && size == 3 * 2000, "room grows once");
  });
}

TEST_CASE("communicate::derived: sizes that cannot be right are refused before anything is sent") {
  struct never {
    int rank() { return 1; }
    int size() { return 3; }
    void all_gather(std::span<std::byte const>, std::span<std::byte>) { FAIL("nothing may be sent"); }
  } c;
  collective::room_t room;
  std::vector<std::byte> four(4), twelve(12);
  std::span<std::byte const> const out(four);
  std::vector<std::size_t> const two{4, 4}, wrong{4, 5, 3}, right{4, 4, 4};
  CHECK_THROWS_WITH_AS(collective::all_gather(c, out, std::span(four), room),
                       "rank 1: all_gather: 'all' must hold size() messages as long as 'mine'", communicator_error);
  CHECK_THROWS_AS(collective::all_gather_v(c, out, two, std::span(twelve).first(8), room), communicator_error);
  CHECK_THROWS_AS(collective::all_gather_v(c, out, wrong, std::span(twelve), room), communicator_error);
  CHECK_THROWS_AS(collective::all_gather_v(c, out, right, std::span(four), room), communicator_error);
  CHECK_THROWS_AS(collective::all_to_all(c, out, std::span(four), room), communicator_error);
  CHECK_THROWS_AS(collective::send_recv(c, 3, out, -1, std::span(four), room), communicator_error);
  CHECK_THROWS_AS(collective::send_recv(c, -1, out, -2, std::span(four), room), communicator_error);
  CHECK_THROWS_AS(collective::send_recv(c, 0, out, 0, std::span(twelve), room), communicator_error);
}

namespace {
/// Rank 0 of three, and whom it spoke to.
struct overheard {
  std::vector<std::pair<int, int>> calls;
  int rank() { return 0; }
  int size() { return 3; }
  void all_gather(std::span<std::byte const>, std::span<std::byte>) {}
  void send_recv(int to, std::span<std::byte const>, int from, std::span<std::byte>) { calls.emplace_back(to, from); }
};
}  // namespace

TEST_CASE("communicate::derived: all_to_all_v sends no empty blocks: both ends know that they are") {
  overheard c;
  collective::room_t room;
  std::byte out[5] = {}, in[2] = {};
  std::size_t const leave[] = {0, 5, 0}, arrive[] = {0, 0, 2};
  collective::all_to_all_v(c, std::span<std::byte const>(out), leave, std::span(in), arrive, room);
  CHECK(c.calls == std::vector<std::pair<int, int>>{{1, 2}, {-1, -1}});
}
