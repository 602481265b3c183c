// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A reducer whose methods are text: for command lines and configuration files. Opt-in, because it instantiates every
/// composition that a text may name.

#include <gradpress/exchange/automatic.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/method/ef21_plus.hpp>
#include <gradpress/method/predictive.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/runtime/method_text.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

#include <functional>

namespace gradpress {

/// The policies of one composition that a text may name; what is not listed is the identity. With `temporal_prediction`
/// first it is `predictive` around the others, with `keep_or_restart` `ef21_plus`.
template <class... P>
struct composition_of {};

/// Compositions that a text may name.
template <class... Compositions>
struct catalogue {};

/// What `any_reducer` knows unless told otherwise. "dense" alone is the empty composition.
struct default_catalogue
    : catalogue<composition_of<bf16>, composition_of<fp16>, composition_of<bf16, error_feedback>,
                composition_of<fp16, error_feedback>, composition_of<top_k, error_feedback>,
                composition_of<top_k, error_feedback, gtop_k>, composition_of<top_k, error_feedback, ok_top_k>,
                composition_of<reused_top_k, error_feedback, ok_top_k>,
                composition_of<top_k, error_feedback, recursive_doubling>,
                composition_of<top_k, error_feedback, automatic>, composition_of<top_k, ef21>,
                composition_of<top_k, stochastic_int, error_feedback>, composition_of<top_k, bf16, error_feedback>,
                composition_of<random_k, error_feedback>, composition_of<random_block, error_feedback>,
                composition_of<threshold, error_feedback>, composition_of<atomo>, composition_of<unbiased_sparsifier>,
                composition_of<adacomp, error_feedback>, composition_of<sign, error_feedback>,
                composition_of<stochastic_int>, composition_of<stochastic_int, error_feedback>,
                composition_of<stochastic_int, error_feedback, scatter_reduce>, composition_of<ternary>,
                composition_of<low_rank, error_feedback>, composition_of<refreshed_low_rank, error_feedback>,
                composition_of<low_rank, log_quantizer, error_feedback>, composition_of<low_rank, bf16, error_feedback>,
                composition_of<alternating_low_rank, error_feedback>, composition_of<top_k, ef21_sgdm>,
                composition_of<stochastic_int, diana>, composition_of<stochastic_int, loco, scatter_reduce>,
                composition_of<top_k, momentum_correction>, composition_of<sampled_top_k, momentum_correction>,
                composition_of<sign_bits, majority_vote>, composition_of<sign_bits, local_momentum, majority_vote>,
                composition_of<sign, error_feedback, two_sided<sign, error_feedback>>,
                composition_of<top_k, error_feedback, parameter_server<>>,
                composition_of<temporal_prediction, stochastic_int>, composition_of<temporal_prediction, top_k>,
                composition_of<keep_or_restart, top_k>> {};

/// A reducer that reads methods.
///
///     gp::any_reducer reducer{exec, comm, "top_k(0.01) | error_feedback"};
///     auto w = reducer.add("w", rows, cols);                  // by the text above
///     auto b = reducer.add("b", rows, 1, "dense");            // by its own
///
/// Throws `configuration_error` for a malformed text, an unknown policy or knob, and a composition that the catalogue
/// lacks, naming what there is. Add compositions with a catalogue of your own: `any_reducer<Exec, catalogue<...>>`.
template <class Exec, class Catalogue = default_catalogue>
class any_reducer : public reducer<Exec> {
  using base = reducer<Exec>;
  std::string text_;

 public:
  using typename base::tensor;

  template <class C>
  any_reducer(Exec exec, C&& comm, std::string method, reducer_options options = {})
      : base(exec, std::forward<C>(comm), options), text_(std::move(method)) {
    with_method(text_, [](auto const&) {});  // a bad text is refused here and not at the first tensor
  }

  tensor add(std::string name, std::size_t rows, std::size_t cols = 1) {
    return add(std::move(name), rows, cols, text_);
  }
  tensor add(std::string name, std::size_t rows, std::size_t cols, std::string_view method) {
    tensor added;
    with_method(method, [&](auto const& m) { added = this->base::add(name, rows, cols, m); });
    return added;
  }
  /// A tensor of any number of dimensions, as `reducer::add` takes it.
  tensor add(std::string name, std::initializer_list<std::size_t> extents) {
    return add(std::move(name), extents, text_);
  }
  tensor add(std::string name, std::initializer_list<std::size_t> extents, std::string_view method) {
    auto const d = matrix_of({extents.begin(), extents.size()});
    return add(std::move(name), d.rows, d.cols, method);
  }

  /// Calls use(method) with the method that a text names, whichever of the catalogue that is.
  template <class Use>
  static void with_method(std::string_view text, Use const& use) {
    if (detail::trim(text) == "dense") return use(compress_with());
    search(Catalogue{}, text, parse_method(text), use);
  }

 private:
  template <class... Compositions, class Use>
  static void search(catalogue<Compositions...>, std::string_view text, std::vector<policy_text> const& parts,
                     Use const& use) {
    if ((try_one(Compositions{}, parts, use) || ...)) return;
    std::string known = "dense", unknown;
    (append_text(Compositions{}, known), ...);
    for (auto const& p : parts)
      if (!(has_policy(Compositions{}, p.name) || ...)) unknown += (unknown.empty() ? "'" : ", '") + p.name + "'";
    throw configuration_error(
        "gradpress: the method \"" + std::string(text) + "\" " +
        (unknown.empty() ? "is not in the catalogue" : "names what the catalogue lacks: " + unknown) +
        "; it has: " + known + ". Compose others with compress_with, or give any_reducer a catalogue of your own");
  }
  template <class... P>
  static void append_text(composition_of<P...>, std::string& to) {
    char const* separator = ", ";
    ((to += separator, to += P::name, separator = " | "), ...);
  }
  template <class... P>
  static bool has_policy(composition_of<P...>, std::string_view name) {
    return ((P::name == name) || ...);
  }

  /// True if the composition's names are the text's names, in any order.
  template <class... P, class Use>
  static bool try_one(composition_of<P...>, std::vector<policy_text> const& parts, Use const& use) {
    auto const named = [&](std::string_view name) {
      for (auto const& p : parts)
        if (p.name == name) return &p;
      return static_cast<policy_text const*>(nullptr);
    };
    if (parts.size() != sizeof...(P) || !(named(P::name) && ...)) return false;
    use(compose(read_policy<P>(*named(P::name))...));
    return true;
  }
  template <class... P>
  static auto compose(P const&... p) {
    return compress_with(p...);
  }
  template <class... P>
  static auto compose(temporal_prediction const& how, P const&... p) {
    return predictive(compress_with(p...), how);
  }
  template <class... P>
  static auto compose(keep_or_restart const& how, P const&... p) {
    return ef21_plus(compress_with(p...), how);
  }
};

template <class Exec, class C>
any_reducer(Exec, C&&, std::string) -> any_reducer<Exec>;
template <class Exec, class C>
any_reducer(Exec, C&&, char const*) -> any_reducer<Exec>;
template <class Exec, class C>
any_reducer(Exec, C&&, std::string, reducer_options) -> any_reducer<Exec>;
template <class Exec, class C>
any_reducer(Exec, C&&, char const*, reducer_options) -> any_reducer<Exec>;

}  // namespace gradpress
