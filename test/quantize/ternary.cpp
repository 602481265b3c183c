// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/ternary.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(quantizer<ternary> && quantizer<ternary8>);
static_assert(agreeing<ternary> && agreeing<ternary8>);
static_assert(!quantizer<std::int16_t>);
static_assert(ternary{}.code_bytes(7) == 14 && ternary8{}.code_bytes(7) == 7);
static_assert(ternary8{}.largest_world() == 127 && ternary{}.largest_world() == 32767);

namespace {
/// Proposes without agreement, as two decoders of one vector with a scale that another rank forced.
struct sender {
  std::uint64_t number = 0;
  int rank = 0;
};
template <class Q>
coded encode_with(Q const& q, floats const& x, float scale, sender who) {
  lone_rank r(who.rank, 8);
  r.ctx.number = who.number;
  coded c{guarded<std::byte>(q.code_bytes(x.size())), {scale}};
  q.encode(r.ctx, over(x), over(std::as_const(c.agreed)), bytes<host>(c.codes.get(), c.codes.size()));
  return c;
}
}  // namespace

TEST_CASE_TEMPLATE("quantize::ternary obeys the laws of quantizers", Q, ternary, ternary8) {
  check_quantizer(Q{}, {.random = true});
}

TEST_CASE_TEMPLATE("quantize::ternary proposes the largest magnitude", Q, ternary, ternary8) {
  lone_rank r;
  CHECK(encode(Q{}, {1.f, -7.f, 3.f}, r.ctx).agreed == floats{7.f});
  CHECK(encode(Q{}, {}, r.ctx).agreed == floats{0.f});
  CHECK(encode(Q{}, {-0.f}, r.ctx).agreed == floats{0.f});
}

TEST_CASE_TEMPLATE("quantize::ternary is right on average, with the stated variance", Q, ternary, ternary8) {
  constexpr int draws = 10000;
  auto const x = heavy_tailed(40);
  float const scale = 1.25f;  // agreed, and larger than anything of this rank
  std::vector<double> sum(x.size()), squares(x.size());
  lone_rank r;
  for (int s = 0; s < draws; ++s) {
    auto const y = decode(Q{}, encode_with(Q{}, x, scale, {static_cast<std::uint64_t>(s), 0}), x.size(), r.ctx);
    for (std::size_t i = 0; i < x.size(); ++i) {
      REQUIRE((y[i] == 0.f || std::abs(y[i]) == scale));
      sum[i] += static_cast<double>(y[i]), squares[i] += static_cast<double>(y[i]) * static_cast<double>(y[i]);
    }
  }
  double variance = 0, expected = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    auto const v = static_cast<double>(x[i]), s = static_cast<double>(scale), mean = sum[i] / draws;
    auto const one = std::abs(v) * s - v * v;
    CHECK(std::abs(mean - v) <= 5 * std::sqrt(one / draws) + 1e-6);
    variance += squares[i] / draws - mean * mean, expected += one;
  }
  CHECK(variance == doctest::Approx(expected).epsilon(0.03));
}

TEST_CASE_TEMPLATE("quantize::ternary sums as integers: the sum of codes decodes to the sum of what they decode to", Q,
                   ternary, ternary8) {
  constexpr std::size_t n = 1000;
  using T = typename Q::adds_as;
  float const scale = 1.5f;  // code * scale and their sums are exact
  std::vector<T> codes(n);
  floats sum(n);
  lone_rank r;
  for (int rank = 0; rank < 8; ++rank) {
    auto const c = encode_with(Q{}, heavy_tailed(n, static_cast<std::uint64_t>(rank)), scale, {0, rank});
    auto const values = decode(Q{}, c, n, r.ctx);
    auto const* const mine = reinterpret_cast<T const*>(c.codes.get());
    for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<T>(codes[i] + mine[i]), sum[i] += values[i];
  }
  coded all{guarded<std::byte>(n * sizeof(T)), {scale}};
  std::memcpy(all.codes.get(), codes.data(), n * sizeof(T));
  CHECK(identical(plus(decode(Q{}, all, n, r.ctx), floats(n)), plus(sum, floats(n))));
}

TEST_CASE("quantize::ternary: the largest value is certain, zero never is anything, and a scale of zero is all zeros") {
  floats const x = {2.f, -2.f, 0.f, -0.f};
  for (std::uint64_t s = 0; s < 200; ++s) {
    lone_rank r;
    auto const y = decode(ternary{}, encode_with(ternary{}, x, 2.f, {s, 0}), 4, r.ctx);
    CHECK(y[0] == 2.f);
    CHECK(y[1] == -2.f);
    CHECK(y[2] == 0.f);
    CHECK(y[3] == 0.f);
  }
  lone_rank r;
  CHECK(decode(ternary{}, encode_with(ternary{}, floats(4), 0.f, {}), 4, r.ctx) == floats(4));
}

TEST_CASE("quantize::ternary has text forms") {
  CHECK(describe(ternary{}) == "ternary");
  CHECK(describe(ternary8{}) == "ternary8");
}
