// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What exchanges ask of a tensor while its messages are under way.

#include <gradpress/compressor.hpp>
#include <gradpress/compressor/left_out.hpp>

namespace gradpress {

template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::length(context const& ctx) const {
  return count_of(ctx.phase);
}

template <class Exec, class M>
void* tensor_coder<Exec, M>::exchange_state(context const& ctx) {
  if constexpr (std::same_as<state_of<X, Exec>, stateless>)
    return nullptr;
  else
    return last_phase(ctx) ? &meeting : nullptr;
}

template <class Exec, class M>
void tensor_coder<Exec, M>::remember(context const& ctx, std::size_t from, in<Exec> lost) {
  only_sent = false;
  if (has_memory && last_phase(ctx))
    kernel::accumulate(ctx.exec, lost.data(), !direct, (direct ? rest.data() : own.data()) + from, lost.extent(0));
}

// ---- messages that merge on their way ------------------------------------------------------------------------------

template <class Exec, class M>
void tensor_coder<Exec, M>::merge(context const& ctx, bytes<Exec> mine, in_bytes<Exec> theirs, bool keeps) {
  if constexpr (merges) {
    auto const n = count_of(ctx.phase);
    auto const ours = decoder().read(mine, n), other = decoder().read(theirs, n);
    other.check_indices(ctx, use.indices, n);
    auto const entries = [](layout const& l) {
      return kernel::stream{l.indices.data(), as<float const>(l.codes).data(), l.count};
    };
    auto const dropped = detail::fold(ctx, entries(ours), entries(other), use.selector.max_kept(n));
    if (keeps) return_to_memory(ctx, dropped);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::reclaim(context const& ctx, std::span<index_t const> merged) {
  if constexpr (merges && has_memory)
    return_to_memory(ctx, detail::without(ctx, {kept.indices.data(), x.data(), kept.count}, merged));
}

// ---- chunks, and reducing at one rank ------------------------------------------------------------------------------

template <class Exec, class M>
std::pair<std::size_t, std::size_t> tensor_coder<Exec, M>::chunk_of(context const& ctx, int p) const {
  return chunk(count_of(ctx.phase), p, ctx.world);
}

template <class Exec, class M>
std::size_t tensor_coder<Exec, M>::chunk_bytes(context const& ctx, int p) const {
  return padded(use.quantizer.code_bytes(chunk_of(ctx, p).second));
}

template <class Exec, class M>
void tensor_coder<Exec, M>::mean_of(context const& ctx, std::span<in_bytes<Exec> const> messages, view<Exec> mean) {
  auto const n = mean.extent(0);
  auto const overflowed = "the sum over the ranks overflowed";
  auto const from_all = decoder();
  if constexpr (chunked) {
    for (std::size_t i = 0; i < messages.size(); ++i) {
      auto const codes = part(messages[i], 0, use.quantizer.code_bytes(n));
      from_all.check_codes(ctx, codes, n);
      if (i == 0)
        from_all.decode(ctx, codes, mean);
      else
        from_all.accumulate(ctx, codes, 1.f, mean);
    }
    detail::require(kernel::divide(ctx.exec, mean.data(), n, static_cast<float>(ctx.world)), overflowed);
  } else if constexpr (Pr::linear) {
    arrival<Exec> const each{messages, arrival_form::each};
    check(ctx, each);
    from_all.decode_mean(ctx, each, mean);
    detail::require_finite(ctx, in<Exec>(mean), overflowed);
  }
}

template <class Exec, class M>
void tensor_coder<Exec, M>::recode(context const& ctx, int p, view<Exec> mean, bytes<Exec> out) {
  if constexpr (chunked) {
    auto const [from, length] = chunk_of(ctx, p);
    auto const size = use.quantizer.code_bytes(length);
    context again = ctx;
    again.part = ctx.world + p;
    clear(out.data() + size, out.extent(0) - size);
    auto const codes = part(out, 0, size);
    bool const remembered = has_memory && last_phase(ctx);
    if constexpr (requires { use.quantizer.encode_sum(again, in<Exec>(mean), in<Exec>(), mean, codes); }) {
      if (remembered)
        use.quantizer.encode_sum(again, in<Exec>(mean), in<Exec>(), mean, codes);
      else
        use.quantizer.encode(again, in<Exec>(mean), codes);
    } else {
      use.quantizer.encode(again, in<Exec>(mean), codes);
      if (remembered) decoder().accumulate(ctx, codes, -1.f, mean);
    }
    if (remembered) {  // the owner remembers what the second encoding lost, for all ranks together
      kernel::scale_copy(ctx.exec, mean.data(), length, static_cast<float>(ctx.world), mean.data());
      remember(ctx, from, in<Exec>(mean));
    }
  }
}

}  // namespace gradpress
