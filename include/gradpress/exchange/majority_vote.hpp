// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Exchange: the sign of the sum of all ranks' signs, one bit up and one bit down.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/exchange/chunk_reduce.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/vote.hpp>

#include <array>

namespace gradpress {

/// What becomes of an entry on which as many voted + as -; with an odd number of voters there is none.
enum class tie {
  plus,   ///< +1
  zero,   ///< 0, which costs a second bit a value on the way down
  random  ///< +1 or -1, by the key that all ranks share
};
constexpr std::array<std::string_view, 3> names_of(tie) { return {"plus", "zero", "random"}; }

/// Each rank counts the votes on one chunk of every tensor, and tells everybody who won.
///
/// - Accepts    every entry's sign without a scale: the quantizer `sign_bits`, no selector, no projector.
/// - Update     +1 or -1, or 0 at a tie, if wished: not the mean. A learning rate is that of signs. No memory that counts
///              on the mean.
/// - Network    (P-1)/P of m bits out and in, twice.
/// - Abstention a chunk whose values are all zero casts no vote; if nobody votes, all its entries are tied.
/// - Robust     against less than half of the ranks, if they send what they like without knowing the others' votes:
///              nobody has more than one vote. Not against damaged messages, which fail the step.
/// - Cost       the owner counts in planes of bits, 32 votes in about 3 log2(P) operations.
/// - Source     Bernstein, Zhao, Azizzadenesheli, Anandkumar, signSGD with Majority Vote is Communication Efficient and
///              Fault Tolerant, ICLR 2019, algorithm 1. Differs: no server, ties by choice.
struct majority_vote {
  tie ties = tie::plus;

  using family = family::exchange;
  static constexpr std::string_view name = "majority_vote";
  static constexpr auto knobs = std::tuple{knob{"ties", &majority_vote::ties}};
  static constexpr bool chunked = true;
  static constexpr bool delivers_mean = false;

  static constexpr bool accepts(message_kind k) { return k.votes && k.dense && k.fixed_size; }
  template <message_kind Kind>
  static consteval bool explain() {
    static_assert(accepts(Kind),
                  "majority_vote: counts the signs of all entries; use it with the quantizer sign_bits, without a "
                  "selector and without a projector.");
    return accepts(Kind);
  }

  template <class Exec>
  void run(step<Exec> const& ctx, transport& to, letter<Exec>& l) const {
    int const r = to.rank();
    auto const chunk = [&](auto const& s, int p) { return s.who->chunk_of(letter<Exec>::context_of(ctx, s), p); };
    auto const size = [&](auto const& s, int p) {
      return (ties == tie::zero ? 8 : 4) * kernel::sign_words(chunk(s, p).second);
    };
    auto const all =
        detail::meet_in_chunks(ctx, to, l, size, [&](auto const& s, auto const& own, auto const& messages, auto out) {
          count(own, r, messages, l.bases, chunk(s, r).second, out);
        });
    if (all.extent(0) == 0) return;
    detail::expect_floats(ctx, l);
    detail::for_each_chunk(l, to.size(), all, size, [&](std::size_t i, int p, bytes<Exec> m) {
      auto const [from, n] = chunk(l.sections[i], p);
      auto const x = part(detail::floats_of(l, l.sections[i]), from, n);
      kernel::decode_signs(ctx.exec, m.data(), n, 1.f, x.data());
      if (ties == tie::zero) silence_ties(m.data() + 4 * kernel::sign_words(n), n, x.data());
    });
  }

 private:
  /// [u32 words of winners, 1 for -][u32 words of ties, where they are told].
  template <class Exec, class Messages>
  void count(step<Exec> own, int r, Messages const& messages, std::vector<std::byte const*>& votes, std::size_t n,
             bytes<Exec> out) const {
    if (n == 0) return;
    auto const words = kernel::sign_words(n);
    votes.clear();
    for (auto const& m : messages) {
      auto const voice = as<float const>(m)(0);
      if (voice != 0 && voice != 1) throw payload_error("is no vote: its magnitude is neither 1 nor 0");
      if (voice == 1) votes.push_back(m.data() + 4);
    }
    auto const tied = ties == tie::zero ? part(out, 4 * words, 4 * words) : own.template scratch<std::byte>(4 * words);
    kernel::count_votes(own.exec, votes.data(), votes.size(), n, out.data(), tied.data());
    if (ties != tie::random) return;
    own.part = own.world + r;
    auto const coins = own.shared(purpose::rounding);
    auto const winners = as<std::uint32_t>(out), even = as<std::uint32_t>(tied);
    for (std::size_t w = 0; w < words; ++w)
      if (even(w) != 0) winners(w) |= even(w) & static_cast<std::uint32_t>(coins.bits(w));
  }
  static void silence_ties(std::byte const* tied, std::size_t n, float* x) {
    for (std::size_t w = 0; w < kernel::sign_words(n); ++w) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, tied + 4 * w, 4);
      for (; bits != 0; bits &= bits - 1)
        if (auto const i = 32 * w + static_cast<std::size_t>(std::countr_zero(bits)); i < n) x[i] = 0;
    }
  }
};

static_assert(explain_exchange<majority_vote>());
GRADPRESS_EXCHANGE_ONCE(majority_vote);

}  // namespace gradpress
