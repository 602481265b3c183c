// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What arrived, checked and decoded.

#include <gradpress/compressor/chunks.hpp>
#include <gradpress/compressor/sums.hpp>
#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/encode/message.hpp>
#include <gradpress/kernel/entries.hpp>

namespace gradpress::detail {

/// Reads messages by the policies that wrote them. A view of one phase: lives as long as what it was made of.
template <class Exec, class S, class Q, class I>
struct decoder {
  using context = step<Exec>;
  using layout = message_layout<Exec, S, Q, I>;
  static constexpr bool dense = S::where == support::all;

  S const& selector;
  Q const& quantizer;
  I const& indices;
  in<Exec> agreed;              // among the ranks, for the quantizer
  in<Exec, index_t> positions;  // of the values of messages that hold none

  // ---- codes ---------------------------------------------------------------------------------------------------

  void decode(context const& ctx, in_bytes<Exec> codes, view<Exec> out) const {
    if constexpr (agreeing<Q>)
      quantizer.decode(ctx, codes, agreed, out);
    else
      quantizer.decode(ctx, codes, out);
  }
  /// sum += factor x codes, for factors of 1 and -1.
  void accumulate(context const& ctx, in_bytes<Exec> codes, float factor, view<Exec> sum) const {
    if constexpr (requires { quantizer.accumulate(ctx, codes, factor, sum); }) {
      quantizer.accumulate(ctx, codes, factor, sum);
    } else {
      auto const decoded = ctx.scratch(sum.extent(0));
      decode(ctx, codes, decoded);
      kernel::accumulate(ctx.exec, decoded.data(), factor < 0, sum.data(), sum.extent(0));
    }
  }
  void check_codes(context const& ctx, in_bytes<Exec> codes, std::size_t m) const {
    if constexpr (requires {
                    { quantizer.finite(ctx, codes, m) } -> std::same_as<bool>;
                  })
      require(quantizer.finite(ctx, codes, m),
              "a message, or the sum of all ranks' messages, decodes to numbers that are not finite");
  }

  // ---- one message over n coefficients -------------------------------------------------------------------------

  [[nodiscard]] layout read(in_bytes<Exec> message, std::size_t n) const {
    return layout::read(selector, quantizer, indices, message, n);
  }
  /// Its entries, decoded; they live in the step's scratch.
  [[nodiscard]] kernel::stream entries(context const& ctx, in_bytes<Exec> message, std::size_t n) const {
    auto const l = read(message, n);
    auto const decoded = ctx.scratch(l.count);
    decode(ctx, l.codes, decoded);
    auto const* at = positions.data();
    if constexpr (layout::indexed) at = l.positions(ctx, indices, n).data();
    return {at, decoded.data(), l.count};
  }
  /// All its coefficients.
  void decode_message(context const& ctx, in_bytes<Exec> message, view<Exec> out) const {
    auto const n = out.extent(0);
    if constexpr (dense) {
      decode(ctx, read(message, n).codes, out);
    } else {
      auto const sent = entries(ctx, message, n);
      kernel::fill_zero(ctx.exec, out.data(), n);
      kernel::put_at(out.data(), sent.indices, sent.values, sent.count);
    }
  }

  // ---- of all ranks --------------------------------------------------------------------------------------------

  /// What `coder::check` promises, of values.
  void check(context const& ctx, arrival<Exec> arrived, std::size_t n) const {
    if (arrived.form == arrival_form::sums) return check_sums(ctx, arrived, n);
    for (int p = 0; p < static_cast<int>(arrived.messages.size()); ++p) {
      auto const m = arrived.messages[static_cast<std::size_t>(p)];
      if (arrived.form == arrival_form::chunks) {
        auto const length = chunk(n, p, ctx.world).second;
        check_codes(ctx, part(m, 0, quantizer.code_bytes(length)), length);
      } else {
        auto const l = read(m, n);
        l.check_indices(ctx, indices, n);
        check_codes(ctx, l.codes, l.count);
      }
    }
  }

  /// The mean over the ranks, written once.
  void decode_mean(context const& ctx, arrival<Exec> arrived, view<Exec> out) const {
    switch (arrived.form) {
      case arrival_form::floats: {
        auto const update = as<float const>(arrived.messages[0]);
        return kernel::copy(ctx.exec, update.data(), out.extent(0), out.data());
      }
      case arrival_form::sums:
        return mean_of_sums(ctx, arrived, out);
      case arrival_form::chunks:
        return join_chunks(ctx, arrived, out);
      case arrival_form::sum:
      case arrival_form::each:
        if constexpr (dense)
          return mean_of_codes(ctx, arrived, out);
        else
          return mean_of_entries(ctx, arrived, out);
    }
  }

 private:
  [[nodiscard]] std::pair<std::size_t, std::size_t> chunk(std::size_t n, int p, int world) const {
    return chunk_of(n, p, world, grain_of(quantizer));
  }
  void join_chunks(context const& ctx, arrival<Exec> arrived, view<Exec> out) const {
    for (int p = 0; p < ctx.world; ++p) {
      auto const [from, length] = chunk(out.extent(0), p, ctx.world);
      decode(ctx, part(arrived.messages[static_cast<std::size_t>(p)], 0, quantizer.code_bytes(length)),
             part(out, from, length));
    }
  }
  void mean_of_codes(context const& ctx, arrival<Exec> arrived, view<Exec> out) const {
    auto const n = out.extent(0);
    auto const codes = [&](std::size_t i) {
      return part(arrived.messages[i], layout::codes_at(indices, n, n), quantizer.code_bytes(n));
    };
    if constexpr (requires { quantizer.decode_mean(ctx, in_bytes<Exec>(codes(0)), ctx.world, out); })
      if (arrived.messages.size() == 1) return quantizer.decode_mean(ctx, in_bytes<Exec>(codes(0)), ctx.world, out);
    decode(ctx, codes(0), out);
    for (std::size_t i = 1; i < arrived.messages.size(); ++i) accumulate(ctx, codes(i), 1.f, out);
    kernel::divide(ctx.exec, out.data(), n, static_cast<float>(ctx.world));
  }
  void mean_of_entries(context const& ctx, arrival<Exec> arrived, view<Exec> out) const {
    auto const n = out.extent(0);
    auto const streams = ctx.template scratch<kernel::stream>(arrived.messages.size());
    for (std::size_t i = 0; i < arrived.messages.size(); ++i) streams(i) = entries(ctx, arrived.messages[i], n);
    kernel::scatter_mean(ctx.exec, streams.data(), streams.extent(0), static_cast<float>(ctx.world), out.data(), n);
  }
};

}  // namespace gradpress::detail
