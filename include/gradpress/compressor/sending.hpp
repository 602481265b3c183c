// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// From values to a message: what ranks agree on first, codes, and what of them leaves the signal.

#include <gradpress/compressor.hpp>
#include <gradpress/kernel/entries.hpp>

namespace gradpress {

/// What ranks agree on before they code: this rank's part of it.
template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::propose(context const& ctx, [[maybe_unused]] in<Exec> g, bytes<Exec> out) {
  auto const size = agreement_bytes(x.extent(0));
  auto const mine = as<float>(part(out, 0, size));
  if constexpr (fuses_quantize) {
    detail::require(use.quantizer.propose_sum(ctx, g, in<Exec>(use.feedback.addend(memory)), mine));
  } else if constexpr (std::same_as<decltype(use.quantizer.propose(ctx, x, mine)), bool>) {
    detail::require(use.quantizer.propose(ctx, x, mine));
  } else {
    check_values(ctx);
    use.quantizer.propose(ctx, x, mine);
  }
  return size;
}

/// The message, and its bytes.
template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::write(context const& ctx, in<Exec> g, bytes<Exec> out) {
  auto const n = count_of(ctx.phase);
  if constexpr (chunked) {
    std::size_t at = 0;
    context piece = ctx;
    for (int p = 0; p < ctx.world; ++p) {
      auto const [from, length] = chunk(n, p, ctx.world);
      auto const size = use.quantizer.code_bytes(length);
      clear(out.data() + at + size, padded(size) - size);
      piece.part = p;
      write_codes(piece, g, from, length, part(out, at, size));
      at += padded(size);
    }
    return at;
  } else {
    if constexpr (dense) kept.count = n;
    write_codes(ctx, g, 0, kept.count, layout::write_head(use.quantizer, use.indices, n, kept, out));
    return layout::size(use.quantizer, use.indices, n, kept.count);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::write_codes(context const& ctx, in<Exec> g, std::size_t from, std::size_t length,
                                        bytes<Exec> codes) {
  auto const& q = use.quantizer;
  if constexpr (fuses_quantize && agreeing<Q>) {
    q.encode_sum(ctx, part(g, from, length), in<Exec>(part(use.feedback.addend(memory), from, length)),
                 in<Exec>(agreed), part(rest, from, length), codes);
  } else if constexpr (fuses_quantize) {
    detail::require(q.encode_sum(ctx, part(g, from, length), in<Exec>(part(use.feedback.addend(memory), from, length)),
                                 part(rest, from, length), codes));
  } else if constexpr (agreeing<Q>) {
    q.encode(ctx, in<Exec>(part(x, from, length)), in<Exec>(agreed), codes);
  } else if constexpr (std::same_as<decltype(q.encode(ctx, x, codes)), bool>) {
    detail::require(q.encode(ctx, in<Exec>(part(x, from, length)), codes));
  } else {
    if (from == 0) check_values(ctx);
    q.encode(ctx, in<Exec>(part(x, from, length)), codes);
  }
}

/// The generic finite check of a dense direct tensor whose selector and quantizer do not vouch for one.
template <class Exec, class M>
void tensor_coder<Exec, M>::check_values(context const& ctx) {
  if constexpr (direct && dense) detail::require_finite(ctx, c);
}

/// What of mine is about to arrive, as really decoded from my own message, leaves the signal.
template <class Exec, class M>
void tensor_coder<Exec, M>::contribute(context const& ctx, bytes<Exec> message) {
  if constexpr (has_memory && !fuses_quantize) {
    if constexpr (!direct) kernel::fill_zero(ctx.exec, own.data(), count_of(ctx.phase));
    add_own(ctx, message, direct ? -1.f : 1.f, view<Exec>(direct ? rest : own));
  }
}

/// Coefficients of my own message, decoded: subtracted from `target`, or, behind a projector, added to zeros.
template <class Exec, class M>
void tensor_coder<Exec, M>::add_own(context const& ctx, bytes<Exec> message, float sign, view<Exec> target) {
  auto const n = count_of(ctx.phase);
  auto const from_me = decoder();
  if constexpr (chunked) {
    std::size_t at = 0;
    for (int p = 0; p < ctx.world; ++p) {
      auto const [from, length] = chunk(n, p, ctx.world);
      auto const size = use.quantizer.code_bytes(length);
      from_me.accumulate(ctx, in_bytes<Exec>(part(message, at, size)), sign, part(target, from, length));
      at += padded(size);
    }
  } else {
    auto const l = from_me.read(message, n);
    if constexpr (dense) {
      from_me.accumulate(ctx, l.codes, sign, part(target, 0, n));
    } else {
      auto const sent = ctx.scratch(l.count);
      from_me.decode(ctx, l.codes, sent);
      if constexpr (direct)
        kernel::subtract_at(ctx.exec, target.data(), kept.indices.data(), sent.data(), l.count);
      else
        kernel::put_at(target.data(), kept.indices.data(), sent.data(), l.count);
    }
  }
}

}  // namespace gradpress
