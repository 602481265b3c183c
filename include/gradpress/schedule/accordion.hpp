// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Two levels of compression a tensor: a low one while its gradient changes fast, a high one otherwise.

#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/knobs.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <tuple>

namespace gradpress {

/// Values are those of any knob: a rank, a density, bits.
struct accordion_options {
  double low_compression = 0;   ///< the knob's value while it matters, as rank 4
  double high_compression = 0;  ///< the knob's value otherwise, as rank 1
  double threshold = 0.5;       ///< relative change of the norm from which it matters
  std::uint64_t window = 1;     ///< norms a comparison; the paper compares two epochs that are 10 apart

  static constexpr std::string_view name = "accordion";
  static constexpr auto knobs =
      std::tuple{knob{"low_compression", &accordion_options::low_compression},
                 knob{"high_compression", &accordion_options::high_compression},
                 knob{"threshold", &accordion_options::threshold}, knob{"window", &accordion_options::window}};

  void check() const {
    if (!std::isfinite(low_compression) || !std::isfinite(high_compression))
      throw configuration_error("accordion: low_compression and high_compression must be values of the knob");
    if (!(threshold > 0 && threshold < std::numeric_limits<double>::infinity()))
      throw configuration_error("accordion: threshold must be finite and above 0, it is " + std::to_string(threshold));
    if (window == 0) throw configuration_error("accordion: window must be at least 1 norm");
  }
};

/// Which of two levels a tensor should have, from the norms of its gradient.
///
///     low compression  if  | |G_prev| - |G_curr| | >= threshold |G_prev|,  or the learning rate is about to fall
///
/// where |G| is the mean of the norms of a window; the last two whole windows are compared.
///
/// - Input     feed(norm) once a step with a number that is equal on all ranks: the norm of a sum or mean over ranks.
///             Then all ranks choose alike without a message.
/// - Order     low compression until two windows are compared, and from rate_falls() until the end of the window that
///             begins there. The unfinished window is dropped then, since its norms belong to the old rate.
/// - Edges     |G_prev| = 0, and norms that are NaN or infinite, count as a change. A negative norm is a
///             `configuration_error`.
/// - Cost      none.
/// - Source    Agarwal, Wang, Lee, Venkataraman, Papailiopoulos, Accordion, MLSys 2021, algorithm 1. Differs: theirs is
///             the norm of the gradient summed over an epoch; feed that, once an epoch and with window = 1, to have it.
class accordion {
  accordion_options options_;
  double sum_ = 0, before_ = 0;
  std::uint64_t fed_ = 0;
  bool compared_ = false, low_ = true;

  using words = std::array<std::uint64_t, 5>;
  [[nodiscard]] checkpoint::field field(words& all) const {
    return {"accordion", describe(options_), "norms", {reinterpret_cast<float*>(all.data()), 2 * all.size()}};
  }

 public:
  explicit accordion(accordion_options const& options) : options_(options) { options_.check(); }

  /// True if the value has changed.
  bool feed(double norm) {
    if (norm < 0)
      throw configuration_error("accordion: a norm was fed that is negative; feed Euclidean norms of gradients");
    sum_ += norm;
    if (++fed_ < options_.window) return false;
    auto const now = sum_ / static_cast<double>(fed_);
    auto const was_low = low_;
    low_ = !compared_ || !(std::abs(before_ - now) < options_.threshold * before_);
    before_ = now, compared_ = true;
    sum_ = 0, fed_ = 0;
    return low_ != was_low;
  }
  /// The learning rate falls before the next step. True if the value has changed.
  bool rate_falls() {
    sum_ = 0, fed_ = 0;
    auto const was_low = low_;
    low_ = true;
    return !was_low;
  }
  /// The knob's value from the next step on.
  [[nodiscard]] double value() const noexcept { return low_ ? options_.low_compression : options_.high_compression; }

  /// Norms, how many of them, and the level; the same bytes on all ranks. Several may follow one another in a stream.
  void save(std::ostream& to) const {
    words all{std::bit_cast<std::uint64_t>(sum_), std::bit_cast<std::uint64_t>(before_), fed_, compared_, low_};
    std::ostringstream inner;
    checkpoint::write(inner, {}, {field(all)});
    checkpoint::write_sized(to, std::move(inner).str());
  }
  /// Reads what an accordion with the same options saved, and no further. All or nothing; throws `state_error`. Set the
  /// knob to `value` afterwards, if no other checkpoint has it.
  void load(std::istream& from) {
    auto inner = checkpoint::read_sized(from, "accordion: its checkpoint is missing or truncated");
    words all{};
    checkpoint::read(inner, {}, {field(all)});
    sum_ = std::bit_cast<double>(all[0]), before_ = std::bit_cast<double>(all[1]);
    fed_ = all[2], compared_ = all[3] != 0, low_ = all[4] != 0;
  }
};

}  // namespace gradpress
