// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What every Quantizer must do, on any data. Call `check_quantizer` from the test of a quantizer.

#include <gradpress/concepts/quantizer.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

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

/// The optional hooks against their generic twins: the same bits.
template <quantizer Q>
void check_hooks(Q const& q, std::size_t n) {
  lone_rank r;
  auto const g = heavy_tailed(n, 2), e = heavy_tailed(n, 3), x = plus(g, e);
  auto const codes = encode(q, x, r.ctx);
  auto const values = decode(q, codes, n, r.ctx);
  using v = view<host>;
  if constexpr (requires(bytes<host> b) { q.encode_sum(r.ctx, in<host>{}, in<host>{}, v{}, b); }) {
    coded fused{guarded<std::byte>(codes.codes.size()), {}};
    guarded<float> rest(n);
    CHECK(q.encode_sum(r.ctx, over(g), over(e), v(rest.get(), n), bytes<host>(fused.codes.get(), fused.codes.size())));
    r.release();
    CHECK(fused.codes.intact());
    CHECK(rest.intact());
    CHECK(fused.same(codes));
    floats expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = x[i] - values[i];
    CHECK(identical(rest.values(), expected));
    coded alone{guarded<std::byte>(codes.codes.size()), {}};  // of one vector, in place
    guarded<float> left(x);
    bytes<host> const out(alone.codes.get(), alone.codes.size());
    CHECK(q.encode_sum(r.ctx, in<host>(left.get(), n), in<host>{}, v(left.get(), n), out));
    r.release();
    CHECK(left.intact());
    CHECK(alone.same(codes));
    CHECK(identical(left.values(), expected));
  }
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
        if constexpr (requires(view<host> v, bytes<host> b) { q.encode_sum(r.ctx, over(x), over(x), v, b); }) {
          coded fused{guarded<std::byte>(q.code_bytes(n)), {}};
          auto const clean = heavy_tailed(n, 2);
          floats rest(n);
          bytes<host> const out(fused.codes.get(), fused.codes.size());
          CHECK_FALSE(q.encode_sum(r.ctx, over(std::as_const(x)), over(clean), over(rest), out));
          CHECK_FALSE(q.encode_sum(r.ctx, over(clean), over(std::as_const(x)), over(rest), out));
          CHECK(fused.codes.intact());
          r.release();
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
  check_finiteness(q, facts);
}

}  // namespace gradpress::test
