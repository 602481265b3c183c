// SPDX-License-Identifier: Apache-2.0
#pragma once

// Policies that are one of several, chosen at run time: one composition, compiled once, stands for the product of all.

#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/chunked_top_k.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include <string>
#include <variant>

namespace gradpress::test {

template <class... P>
std::string name_of(std::variant<P...> const& one) {
  return std::visit([](auto const& p) { return describe(p); }, one);
}

/// Every index code; not `raw`, which only says that messages may be merged where they lie.
struct any_index {
  using family = family::index_code;
  static constexpr std::string_view name = "any_index";
  std::variant<raw_index, local_index, bitmap_index, elias_fano, smallest_index> one;

  [[nodiscard]] std::size_t index_bytes(std::size_t n, std::size_t k) const {
    return std::visit([&](auto const& i) { return i.index_bytes(n, k); }, one);
  }
  void write(index_t const* at, std::size_t k, std::size_t n, std::byte* out) const {
    std::visit([&](auto const& i) { i.write(at, k, n, out); }, one);
  }
  [[nodiscard]] bool read(std::byte const* in, std::size_t k, std::size_t n, index_t* at) const {
    return std::visit([&](auto const& i) { return i.read(in, k, n, at); }, one);
  }
};
static_assert(explain_index_code<any_index>());

/// Every value code that needs no agreement. None adds up: of that, sums by index know nothing.
struct any_code {
  using family = family::quantizer;
  using adds_as = void;
  static constexpr std::string_view name = "any_code";
  std::variant<unquantized, bf16, fp16, sign, stochastic_int, log_quantizer, one_magnitude> one;

  [[nodiscard]] std::size_t code_bytes(std::size_t m) const {
    return std::visit([&](auto const& q) { return q.code_bytes(m); }, one);
  }
  template <class Exec>
  bool encode(step<Exec> const& ctx, in<Exec> x, bytes<Exec> codes) const {
    auto const finite = std::all_of(x.data(), x.data() + x.extent(0), [](float v) { return std::isfinite(v); });
    return std::visit(
        [&](auto const& q) {
          if constexpr (std::same_as<decltype(q.encode(ctx, x, codes)), bool>)
            return q.encode(ctx, x, codes);
          else
            return q.encode(ctx, x, codes), finite;
        },
        one);
  }
  template <class Exec>
  void decode(step<Exec> const& ctx, in_bytes<Exec> codes, view<Exec> x) const {
    std::visit([&](auto const& q) { q.decode(ctx, codes, x); }, one);
  }
};
static_assert(explain_quantizer<any_code>());

namespace detail_of_tests {
/// Kept entries and the values to send, whichever way s says them.
template <class S, class Exec>
bool select_by(S const& s, step<Exec> const& ctx, in<Exec> a, in<Exec> g, selection<Exec>& kept, view<Exec> values) {
  if constexpr (concepts::has_select_fresh<S>) {
    return s.select_fresh(ctx, a, g, kept, values);
  } else if constexpr (concepts::has_select_values<S>) {
    return s.select_values(ctx, a, kept, values);
  } else {
    bool finite = true;
    if constexpr (std::same_as<decltype(s.select(ctx, a, kept)), bool>)
      finite = s.select(ctx, a, kept);
    else
      s.select(ctx, a, kept),
          finite = std::all_of(a.data(), a.data() + a.extent(0), [](float v) { return std::isfinite(v); });
    if (finite)
      for (std::size_t j = 0; j < kept.count; ++j) values(j) = a(kept.indices(j));
    return finite;
  }
}
}  // namespace detail_of_tests

/// Selectors with their own support.
template <bool Fixed, class... S>
struct any_selector {
  static_assert(((S::where == support::own && S::fixed_size == Fixed) && ...));
  using family = family::selector;
  static constexpr std::string_view name = "any_selector";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = Fixed;
  std::variant<S...> one;

  [[nodiscard]] std::size_t max_kept(std::size_t n) const {
    return std::visit([&](auto const& s) { return s.max_kept(n); }, one);
  }
  template <class Exec>
  bool select_fresh(step<Exec> const& ctx, in<Exec> a, in<Exec> g, selection<Exec>& kept, view<Exec> values) const {
    return std::visit([&](auto const& s) { return detail_of_tests::select_by(s, ctx, a, g, kept, values); }, one);
  }
};
using any_fixed = any_selector<true, top_k, chunked_top_k, own_random_k>;
using any_variable = any_selector<false, threshold, gaussian_k, sampled_top_k, sidco, adacomp, atomo,
                                  unbiased_sparsifier, unbiased_density>;
static_assert(explain_selector<any_fixed>() && explain_selector<any_variable>());

}  // namespace gradpress::test
