// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The way down, of exchanges that form a mean at one rank and encode it for all by a quantizer of their own: what the
/// second encoding loses, and who remembers it.

#include <gradpress/concepts/feedback.hpp>
#include <gradpress/concepts/quantizer.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/exchange/chunk_reduce.hpp>
#include <gradpress/exchange/split_dense.hpp>

namespace gradpress {

/// The way down without a memory of its own: what it loses goes to the reducing rank's own memory, if the method has
/// one, P times, and else nowhere.
struct unremembered {
  using family = family::feedback;
  static constexpr std::string_view name = "none";
  static constexpr memory_law law = memory_law::none;
};

namespace detail {

/// What the means of the elements that this rank reduces still lack.
template <class Exec>
struct owner_memory : two_versions<Exec> {
  template <class X>
  owner_memory(X const&, step<Exec> const& ctx, shape d)
      : two_versions<Exec>{kernel::zeros(ctx.exec, "gradpress::owner", d.size()),
                           kernel::zeros(ctx.exec, "gradpress::owner", d.size())} {}
  template <class V>
  void visit(V&& v) {
    v("owner", this->stands);
  }
};

/// A memory that is nothing but what was left, or none at all.
template <class M>
concept downlink_memory = policy<M> && std::same_as<typename M::family, family::feedback> &&
    (!remembers<M> || can_owe<M>);

/// What an owner keeps neither decays nor follows a learning rate.
template <class M>
void check_downlink_memory(std::string_view exchange, M const& memory) {
  if (describe(memory) != describe(M{}))
    throw configuration_error(std::string(exchange) + ": 'memory' takes no knobs, it is " + describe(memory) +
                              "; for units of the model hand in gradients times the learning rate");
}

template <class Down, class Memory>
struct downlink {
  Down const& code;

  /// Of codes of m values, padded.
  [[nodiscard]] std::size_t size(std::size_t m) const { return padded(code.code_bytes(m)); }
  /// Random numbers that nothing else has used: of owner p.
  template <class Exec>
  static step<Exec> context_of(step<Exec> own, int p) {
    own.part = own.world + p;
    return own;
  }

  /// At owner p: encodes the mean of elements [from, from + mean.extent(0)), and has the loss remembered. `mean` is
  /// workspace then.
  template <class Exec>
  void encode(step<Exec> const& section, int p, coder<Exec>& who, std::size_t from, view<Exec> mean,
              bytes<Exec> out) const {
    auto const ctx = context_of(section, p);
    auto const n = mean.extent(0);
    auto const codes = part(out, 0, code.code_bytes(n));
    [[maybe_unused]] owner_memory<Exec>* memory = nullptr;
    if constexpr (remembers<Memory>) {
      memory = static_cast<owner_memory<Exec>*>(who.exchange_state(section));
      kernel::add(ctx.exec, mean.data(), memory->stands.data(), mean.data(), n);
    }
    auto* const chunks = ctx.template scratch<unsigned char>(kernel::dense_chunks(n)).data();
    if (!kernel::all_finite(ctx.exec, mean.data(), n, chunks))
      throw non_finite_error("the mean and what its owner remembers overflowed");
    clear(out.data() + codes.extent(0), out.extent(0) - codes.extent(0));
    code.encode(ctx, in<Exec>(mean), codes);
    auto const back = ctx.scratch(n);
    code.decode(ctx, in_bytes<Exec>(codes), back);
    if constexpr (remembers<Memory>) {
      kernel::sub(ctx.exec, mean.data(), back.data(), memory->tentative.data(), n);
    } else {
      kernel::accumulate(ctx.exec, back.data(), true, mean.data(), n);
      kernel::scale_copy(ctx.exec, mean.data(), n, static_cast<float>(ctx.world), mean.data());
      who.remember(section, from, in<Exec>(mean));
    }
  }
  template <class Exec>
  void decode(step<Exec> const& section, int p, in_bytes<Exec> m, view<Exec> out) const {
    code.decode(context_of(section, p), part(m, 0, code.code_bytes(out.extent(0))), out);
  }
};

/// What a way down needs between steps.
template <class Exec, class Memory>
using downlink_state = std::conditional_t<remembers<Memory>, owner_memory<Exec>, stateless>;

}  // namespace detail
}  // namespace gradpress
