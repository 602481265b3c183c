// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/all_gather.hpp>

#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../concepts/selector_laws.hpp"
#include "../support/averaging.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<all_gather>);
static_assert(!exchange<transport>);
static_assert(all_gather::accepts({}) && all_gather::accepts({.fixed_size = false}) &&
              all_gather::accepts({.combines = combination::merge}) &&
              all_gather::accepts({.combines = combination::sum}));

namespace {
template <class S>
floats sparse_mean(S const& s, std::vector<floats> const& g) {
  std::vector<floats> sent;
  for (auto const& x : g) {
    floats kept(x.size());
    for (auto const i : run_select(s, x)) kept[i] = x[i];
    sent.push_back(kept);
  }
  return mean_in_order(sent);
}
}  // namespace

TEST_CASE("exchange::all_gather is the mean of what each rank kept, added in rank order") {
  for (std::size_t P = 1; P <= 5; ++P)
    for (std::size_t const n : {0u, 1u, 33u, 1000u}) {
      CAPTURE(P);
      CAPTURE(n);
      auto const g = gradients_of(P, n);
      auto const fixed = average_once(g, compress_with(top_k{.density = 0.1}, all_gather{}));
      CHECK(identical(fixed.updates[0], plus(sparse_mean(top_k{.density = 0.1}, g), floats(n))));
      for (auto const b : fixed.bytes) CHECK(b == 32 + 8 * kept_of(0.1, n));
      for (auto const m : fixed.messages) CHECK(m == 1);

      auto const varies = average_once(g, compress_with(threshold{.tau = 0.3}, all_gather{}));
      CHECK(identical(varies.updates[0], plus(sparse_mean(threshold{.tau = 0.3}, g), floats(n))));
      for (std::size_t p = 0; p < P; ++p)
        CHECK(varies.bytes[p] == 8 + 32 + 4 + 4 + 8 * run_select(threshold{.tau = 0.3}, g[p]).size());
      for (auto const m : varies.messages) CHECK(m == 2);
    }
}

TEST_CASE("exchange::all_gather takes sums too, bare and decoded one by one") {
  auto const g = gradients_of(4, 500);
  auto const step = average_once(g, compress_with(all_gather{}));
  CHECK(identical(step.updates[0], mean_in_order(g)));
  for (auto const b : step.bytes) CHECK(b == 2000);
}

TEST_CASE("exchange::all_gather: ranks that keep nothing, and ranks that keep everything, in one step") {
  std::vector<floats> g = {floats(50, 0.f), floats(50, 3.f), floats(50, 0.1f)};
  auto const step = average_once(g, compress_with(threshold{.tau = 1}, all_gather{}));
  CHECK(step.updates[0] == floats(50, 1.f));
  CHECK(step.bytes[0] == 8 + 32 + 4 + 4);
  CHECK(step.bytes[1] == 8 + 32 + 4 + 4 + 400);
}

namespace {
/// Gives every rank the prepared bytes of rank 1, whatever rank 0 sends.
class replay final : public transport {
  std::vector<std::byte> theirs_;

 public:
  explicit replay(std::vector<std::byte> theirs) : theirs_(std::move(theirs)) {}
  [[nodiscard]] int rank() const override { return 0; }
  [[nodiscard]] int size() const override { return 2; }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) override {
    std::copy(mine.begin(), mine.end(), all.begin());
    std::size_t const size = theirs_.size();
    std::memcpy(all.data() + 8, &size, 8);
  }
  void all_gather_v(std::span<std::byte const> mine, std::span<std::size_t const> sizes,
                    std::span<std::byte> all) override {
    REQUIRE(sizes[1] == theirs_.size());
    std::copy(mine.begin(), mine.end(), all.begin());
    std::copy(theirs_.begin(), theirs_.end(), all.begin() + static_cast<std::ptrdiff_t>(mine.size()));
  }
  void all_reduce_sum(scalar, void*, std::size_t) override {}
  void all_reduce_max(float*, std::size_t) override {}
  void send_recv(int, std::span<std::byte const>, int, std::span<std::byte>) override {}
  void send_recv_v(int, std::span<std::byte const>, int, std::span<std::byte>) override {}
  void all_to_all(std::span<std::byte const>, std::span<std::byte>) override {}
  void all_to_all_v(std::span<std::byte const>, std::span<std::size_t const>, std::span<std::byte>,
                    std::span<std::size_t const>) override {}
  void abandon(std::string_view) noexcept override {}
};
constexpr message_kind variable{.fixed_size = false};

/// Two sections of 8 and 12 bytes, as an honest rank sends them.
void write_honest(letter<host>& l) {
  l.open(20, 2);
  for (std::size_t const size : {8u, 12u}) {
    std::fill_n(l.room(size).data(), size, std::byte{7});
    l.add(nullptr, 0, size);
  }
}
/// What rank 0 says about a letter of rank 1 with these two sizes in its table and `body` bytes behind it, well sealed.
std::string complaint_about(std::uint32_t first, std::uint32_t second, std::size_t body) {
  lone_rank r(0, 2);
  std::vector<std::byte> theirs(32 + 8 + body);
  std::memcpy(theirs.data() + 32, &first, 4);
  std::memcpy(theirs.data() + 36, &second, 4);
  letter<host>::seal(r.ctx, bytes<host>(theirs.data(), theirs.size()));
  replay t(theirs);
  letter<host> l(variable);
  write_honest(l);
  all_gather{}.run(r.ctx, t, l);
  if (l.complaint.empty()) {
    CHECK(l.arrival_of(l.sections[0]).messages[1].extent(0) == first);
    CHECK(l.arrival_of(l.sections[1]).messages[1].extent(0) == second);
  }
  return l.complaint;
}
}  // namespace

TEST_CASE("exchange::all_gather believes no section table: sizes must add up to what is there") {
  CHECK(complaint_about(8, 12, 20) == "");
  CHECK(complaint_about(0, 0, 0) == "");
  CHECK(complaint_about(8, 12, 24) == "the message from rank 1 is longer than its sections");
  CHECK(complaint_about(8, 12, 16) == "the message from rank 1 has a section that reaches past its end");
  CHECK(complaint_about(0xfffffff0u, 12, 20) == "the message from rank 1 has a section that reaches past its end");
  CHECK(complaint_about(8, 0xffffffffu, 20) == "the message from rank 1 has a section that reaches past its end");
  CHECK(complaint_about(0xffffffffu, 0xffffffffu, 0) ==
        "the message from rank 1 has a section that reaches past its end");
  SUBCASE("a letter too short for its table, and one too short for its header") {
    for (std::size_t const size : {36u, 31u, 0u}) {
      lone_rank r(0, 2);
      std::vector<std::byte> theirs(size);
      if (size >= 32) letter<host>::seal(r.ctx, bytes<host>(theirs.data(), size));
      replay t(theirs);
      letter<host> l(variable);
      write_honest(l);
      all_gather{}.run(r.ctx, t, l);
      CHECK(l.complaint == (size == 36 ? "the message from rank 1 is too short for its section table"
                                       : "the message from rank 1 is shorter than its header"));
    }
  }
}
