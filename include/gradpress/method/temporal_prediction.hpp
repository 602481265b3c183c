// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The knobs of `predictive`, and the method that it makes.

#include <gradpress/concepts/method.hpp>
#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/kernel/least_squares.hpp>

#include <array>
#include <cmath>

namespace gradpress {

/// The knobs of `predictive`.
struct temporal_prediction {
  int order = 1;           ///< p: of how many past gradients; 1 to 8
  double threshold = 0.1;  ///< tau: a residual that is no longer than this is not sent; 0 or more
  bool relative = true;    ///< tau times the gradient's own norm; else tau itself
  double decay = 1;        ///< in (0, 1]: in step t the threshold is decay^t of what it was
  int check_every = 100;   ///< steps between comparisons of the histories; 0 for never
  int resync = 0;          ///< another number, on all ranks: histories are forgotten, and the next residual is g

  static constexpr std::string_view name = "temporal_prediction";
  /// Coefficients are fitted and travel; else there is one, 1 or 0, which a bit of the word says.
  static constexpr bool fits = true;
  static constexpr auto knobs = std::tuple{knob{"order", &temporal_prediction::order},
                                           knob{"threshold", &temporal_prediction::threshold},
                                           knob{"relative", &temporal_prediction::relative},
                                           knob{"decay", &temporal_prediction::decay, shown::if_changed},
                                           knob{"check_every", &temporal_prediction::check_every, shown::if_changed},
                                           knob{"resync", &temporal_prediction::resync, shown::if_changed}};

  void check() const {
    auto const must = [](bool good, char const* what, auto value) {
      if (!good)
        throw configuration_error("temporal_prediction: " + std::string(what) + ", it is " + number_text(value));
    };
    must(order >= 1 && order <= kernel::most_terms, "order must lie in [1, 8]", order);
    must(threshold >= 0 && std::isfinite(threshold), "threshold must be 0 or more and finite", threshold);
    must(decay > 0 && decay <= 1, "decay must lie in (0, 1]", decay);
    must(check_every >= 0, "check_every must be 0 or more", check_every);
  }
  /// The norm above which a residual is sent in step t.
  [[nodiscard]] double limit(std::uint64_t t, double norm_of_gradient) const {
    auto const tau = decay == 1 ? threshold : threshold * std::pow(decay, static_cast<double>(t));
    return relative ? tau * norm_of_gradient : tau;
  }
  /// Are histories compared in step t? Alike on all ranks.
  [[nodiscard]] bool checks(std::uint64_t t) const {
    return check_every > 0 && (t + 1) % static_cast<std::uint64_t>(check_every) == 0;
  }
};

/// Made by `predictive`, and with other knobs by `ef21_plus`.
template <class Code, class X = all_gather, class How = temporal_prediction>
struct predictive_method {
  Code code;
  How how;
  X exchange{};

  static constexpr message_kind kind{.fixed_size = false};
  static constexpr method_facts facts{};
  [[nodiscard]] std::string text() const {
    return describe(how) + " of " + code.text() + (std::same_as<X, all_gather> ? "" : " over " + describe(exchange));
  }
};
template <class Code, class X, class How>
void check_knobs(predictive_method<Code, X, How> const& m) {
  m.how.check();
  check_knobs(m.code);
  if constexpr (requires { m.exchange.check(); }) m.exchange.check();
}

/// Does X bring every message, as it was sent, to whoever adds them?
template <class X>
inline constexpr bool brings_whole_messages = X::accepts(predictive_method<int, X>::kind) && !weighs_dense<X> &&
                                              !chunks_tensors<X>;

}  // namespace gradpress
