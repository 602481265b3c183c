// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Quantizer must do, on any data. Call `check_quantizer` from the test of a quantizer.

#include <gradpress/concepts/quantizer.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/lone_rank.hpp"
#include "../support/step_by_step.hpp"

#include <string>

namespace gradpress::test {

/// What the laws must know about a quantizer and cannot ask.
struct quantizer_facts {
  bool random = false;                                     ///< codes depend on a key, and so on their position
  bool one_scale = false;                                  ///< a scale of the whole vector: pieces have other codes
  std::size_t (*leading_floats)(std::size_t m) = nullptr;  ///< of codes of m values; all must be finite
};

struct coded {
  guarded<std::byte> codes;
  floats agreed;
  bool finite = true;

  [[nodiscard]] in_bytes<host> view() const { return in_bytes<host>(codes.get(), codes.size()); }
  [[nodiscard]] bool same(coded const& other) const { return codes.same(other.codes); }
};

/// Codes of x, with what a lone rank agrees on; written over bytes of this value.
template <quantizer Q>
coded encode(Q const& q, floats const& x, step<host> const& ctx, std::byte before = std::byte{0x33}) {
  coded c{guarded<std::byte>(q.code_bytes(x.size())), {}};
  bytes<host> const out(c.codes.get(), c.codes.size());
  std::fill_n(c.codes.get(), c.codes.size(), before);
  if constexpr (agreeing<Q>) {
    c.agreed.resize(q.agreement_size(x.size()));
    if constexpr (std::same_as<decltype(q.propose(ctx, over(x), over(c.agreed))), bool>)
      c.finite = q.propose(ctx, over(x), over(c.agreed));
    else
      q.propose(ctx, over(x), over(c.agreed));
    if (c.finite) q.encode(ctx, over(x), over(std::as_const(c.agreed)), out);
  } else if constexpr (std::same_as<decltype(q.encode(ctx, over(x), out)), bool>) {
    c.finite = q.encode(ctx, over(x), out);
  } else {
    q.encode(ctx, over(x), out);
  }
  ctx.memory->release();
  CHECK(c.codes.intact());
  return c;
}
template <quantizer Q>
floats decode(Q const& q, coded const& c, std::size_t m, step<host> const& ctx) {
  guarded<float> x(m);
  std::fill_n(x.get(), m, 123.f);
  if constexpr (agreeing<Q>)
    q.decode(ctx, c.view(), over(c.agreed), view<host>(x.get(), m));
  else
    q.decode(ctx, c.view(), view<host>(x.get(), m));
  ctx.memory->release();
  CHECK(x.intact());
  return x.values();
}
/// There and back.
template <quantizer Q>
floats round_trip(Q const& q, floats const& x) {
  lone_rank r;
  return decode(q, encode(q, x, r.ctx), x.size(), r.ctx);
}

/// Sizes are exact, every byte is written, nothing beyond; the same input has the same codes.
template <quantizer Q>
void check_codes(Q const& q, floats const& x) {
  lone_rank r;
  auto const once = encode(q, x, r.ctx), again = encode(q, x, r.ctx, std::byte{0xcc});
  CHECK(once.finite);
  CHECK(once.same(again));
  auto const values = decode(q, once, x.size(), r.ctx);
  CHECK(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }));
  if constexpr (requires {
                  { q.finite(r.ctx, once.view(), x.size()) } -> std::same_as<bool>;
                })
    CHECK(q.finite(r.ctx, once.view(), x.size()));
}

/// Zeros stay zeros, and the message of a rank that stays silent, all zeros, is worth nothing.
template <quantizer Q>
void check_zeros(Q const& q, std::size_t n) {
  lone_rank r;
  floats const zeros(n, 0.f), negative(n, -0.f);
  for (auto const* x : {&zeros, &negative})
    for (float const v : round_trip(q, *x)) CHECK(v == 0.f);
  auto silent = encode(q, heavy_tailed(n), r.ctx);
  std::fill_n(silent.codes.get(), silent.codes.size(), std::byte{0});
  for (float const v : decode(q, silent, n, r.ctx)) CHECK(v == 0.f);
}

/// Codes of g + e, of g if e is empty, with what a lone rank agrees on.
template <quantizer Q>
coded encode_sum(Q const& q, in<host> g, in<host> e, view<host> rest, step<host> const& ctx) {
  auto const n = g.extent(0);
  coded c{guarded<std::byte>(q.code_bytes(n)), {}};
  bytes<host> const out(c.codes.get(), c.codes.size());
  std::fill_n(c.codes.get(), c.codes.size(), std::byte{0x33});
  if constexpr (agreeing<Q>) {
    c.agreed.resize(q.agreement_size(n));
    c.finite = q.propose_sum(ctx, g, e, over(c.agreed));
    if (c.finite) q.encode_sum(ctx, g, e, over(std::as_const(c.agreed)), rest, out);
  } else {
    c.finite = q.encode_sum(ctx, g, e, rest, out);
  }
  ctx.memory->release();
  CHECK(c.codes.intact());
  return c;
}

/// Sums coded and what is left, by `encode_sum` and step by step: the same bits, into a third place and in place.
template <quantizer Q>
void check_sums(Q const& q, floats const& g, floats const& e) {
  if constexpr (codes_sums<Q>) {
    lone_rank r;
    auto const n = g.size();
    auto const x = plus(g, e);
    auto const codes = encode(q, x, r.ctx);
    auto const values = decode(q, codes, n, r.ctx);
    floats expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = x[i] - values[i];
    guarded<float> left[4] = {guarded<float>(n), guarded<float>(g), guarded<float>(e), guarded<float>(x)};
    for (int place = 0; place < 4; ++place) {
      CAPTURE(place);
      auto const to = view<host>(left[place].get(), n);
      auto const from = place == 1 || place == 3 ? in<host>(to) : over(g);
      auto const memory = place == 2 ? in<host>(to) : place == 3 ? in<host>() : over(e);
      auto const fused = encode_sum(q, from, memory, to, r.ctx);
      CHECK(fused.finite);
      CHECK(fused.same(codes));
      CHECK(identical(fused.agreed, codes.agreed));
      CHECK(left[place].intact());
      CHECK(identical(left[place].values(), expected));
    }
  }
}
/// On every path of the machine: long ones, and sums that vanish, all or some, or nearly.
template <quantizer Q>
void check_sums_of_all_kinds(Q const& q) {
  if constexpr (codes_sums<Q>)
    for_each_isa([&] {
      for (std::size_t const n : {1u, 31u, 33u, 1000u, 1025u, 4097u, 100003u}) {
        CAPTURE(n);
        auto const g = heavy_tailed(n, 2);
        floats some_zero = heavy_tailed(n, 3), minus(n), tiny(n), tiny_too(n), zeros(n);
        for (std::size_t i = 0; i < n; ++i) {
          minus[i] = -g[i];
          if (i % 3 == 0) some_zero[i] = -g[i];
          tiny[i] = 3e-45f * g[i], tiny_too[i] = i % 2 == 0 ? 1e-44f : -0.f, zeros[i] = i % 2 == 0 ? 0.f : -0.f;
        }
        check_sums(q, g, some_zero);
        check_sums(q, g, minus);
        check_sums(q, tiny, tiny_too);
        check_sums(q, zeros, zeros);
      }
    });
}

/// The optional hooks against their generic twins: the same bits.
template <quantizer Q>
void check_hooks(Q const& q, std::size_t n) {
  lone_rank r;
  auto const g = heavy_tailed(n, 2), e = heavy_tailed(n, 3), x = plus(g, e);
  auto const codes = encode(q, x, r.ctx);
  auto const values = decode(q, codes, n, r.ctx);
  using v = view<host>;
  check_sums(q, g, e);
  if constexpr (requires { q.accumulate(r.ctx, codes.view(), 1.f, v{}); })
    for (float const factor : {1.f, -1.f}) {
      guarded<float> sum(heavy_tailed(n, 4));
      floats expected = sum.values();
      for (std::size_t i = 0; i < n; ++i) expected[i] = factor > 0 ? expected[i] + values[i] : expected[i] - values[i];
      q.accumulate(r.ctx, codes.view(), factor, v(sum.get(), n));
      CHECK(sum.intact());
      CHECK(identical(sum.values(), expected));
    }
  if constexpr (requires { q.decode_mean(r.ctx, codes.view(), 3, v{}); })
    for (int const world : {1, 2, 3, 7}) {
      guarded<float> mean(n);
      floats expected = values;
      for (auto& m : expected) m /= static_cast<float>(world);
      q.decode_mean(r.ctx, codes.view(), world, v(mean.get(), n));
      CHECK(mean.intact());
      CHECK(identical(mean.values(), expected));
    }
}

/// A vector cut at the grain decodes like the whole.
template <quantizer Q>
void check_grain(Q const& q, floats const& x) {
  std::size_t grain = 1;
  if constexpr (requires { q.grain(); }) grain = q.grain();
  lone_rank r;
  auto const whole = decode(q, encode(q, x, r.ctx), x.size(), r.ctx);
  for (std::size_t const pieces : {2u, 3u, 5u}) {
    auto const each = ((x.size() + grain - 1) / grain + pieces - 1) / pieces * grain;
    floats joined;
    for (std::size_t from = 0; from < x.size(); from += each) {
      floats const piece(x.begin() + static_cast<std::ptrdiff_t>(from),
                         x.begin() + static_cast<std::ptrdiff_t>(std::min(x.size(), from + each)));
      auto const values = round_trip(q, piece);
      joined.insert(joined.end(), values.begin(), values.end());
    }
    CHECK(identical(joined, whole));
  }
}

/// NaN and infinity are seen wherever they stand: by the encoder, or by `finite` on the codes.
template <quantizer Q>
void check_finiteness(Q const& q, quantizer_facts const& facts) {
  lone_rank r;
  for (std::size_t const n : {1u, 5u, 33u, 70u})
    for (std::size_t at = 0; at < n; ++at)
      for (float const bad : not_finite) {
        auto x = heavy_tailed(n);
        x[at] = bad;
        CAPTURE(n);
        CAPTURE(at);
        CAPTURE(bad);
        auto const codes = encode(q, x, r.ctx);
        bool seen = !codes.finite;
        if constexpr (requires {
                        { q.finite(r.ctx, codes.view(), n) } -> std::same_as<bool>;
                      }) {
          if (codes.finite) seen = !q.finite(r.ctx, codes.view(), n);
          r.release();
        }
        CHECK(seen);
        if constexpr (codes_sums<Q>) {
          auto const clean = heavy_tailed(n, 2);
          floats rest(n);
          CHECK_FALSE(encode_sum(q, over(std::as_const(x)), over(clean), over(rest), r.ctx).finite);
          CHECK_FALSE(encode_sum(q, over(clean), over(std::as_const(x)), over(rest), r.ctx).finite);
          CHECK_FALSE(encode_sum(q, over(std::as_const(x)), in<host>(), over(rest), r.ctx).finite);
        }
      }
  if (facts.leading_floats == nullptr) return;
  if constexpr (requires {
                  { q.finite(r.ctx, in_bytes<host>{}, std::size_t{}) } -> std::same_as<bool>;
                })
    for (std::size_t const n : {1u, 33u, 130u})
      for (std::size_t at = 0; at < facts.leading_floats(n); ++at)
        for (float const bad : not_finite) {
          auto codes = encode(q, heavy_tailed(n), r.ctx);
          std::memcpy(codes.codes.get() + 4 * at, &bad, 4);
          CAPTURE(n);
          CAPTURE(at);
          CHECK_FALSE(q.finite(r.ctx, codes.view(), n));
          r.release();
        }
}

template <quantizer Q>
void check_quantizer(Q const& q, quantizer_facts const& facts) {
  INFO("quantizer ", describe(q));
  for (std::size_t const n : law_sizes) {
    CAPTURE(n);
    check_codes(q, heavy_tailed(n));
    check_codes(q, floats(n, -2.5f));
    check_zeros(q, n);
    check_hooks(q, n);
    if (!facts.random && !facts.one_scale) check_grain(q, heavy_tailed(n));
  }
  check_sums_of_all_kinds(q);
  check_finiteness(q, facts);
}

}  // namespace gradpress::test
