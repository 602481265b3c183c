// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Selector: in every bin, the entries that this step's gradient drives beyond the bin's largest one.

#include <gradpress/concepts/selector.hpp>
#include <gradpress/core/error.hpp>
#include <gradpress/kernel/adacomp.hpp>

namespace gradpress {

struct one_magnitude;  // quantize/one_magnitude.hpp, of which compressor.hpp knows

/// With the signal a = g + memory: keeps entry i where |a[i] + g[i]| >= max |a| over its bin; all values are sent as
/// +-s, with the sign of a[i] and s the mean of the bins' maxima.
///
/// - Shape     n coefficients in bins of consecutive ones, 0 .. n indices out: messages of variable size. No density: how
///             many are kept follows from the data.
/// - Order     indices ascend.
/// - Cost      one read of a and of g.
/// - Code      `one_magnitude` unless another quantizer is named: 4 bytes and a bit an entry, exact here. With any other
///             the method stays right, since the memory keeps what was not delivered; unquantized it costs 32 times the
///             bits for the same values.
/// - Edges     n = 0 keeps nothing; bins of zeros keep nothing and do not count in s; an entry that is 0 is never kept,
///             having no sign; NaN is found and refused. Not behind a projector.
/// - Bias      biased: use it with a memory. Of every bin that is not zero, the largest entry is kept if g has its sign.
/// - Source    Chen, Choi, Brand, Agrawal, Zhang, Gopalakrishnan, AdaComp, AAAI 2018, algorithm 2. Differs: bins of zeros,
///             which would be kept whole.
struct adacomp {
  std::uint32_t bin = 500;  ///< entries of a bin, 1 to 65536; 50 for convolutions in the paper

  using family = family::selector;
  using code = one_magnitude;
  static constexpr std::string_view name = "adacomp";
  static constexpr auto knobs = std::tuple{knob{"bin", &adacomp::bin}};
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;

  [[nodiscard]] constexpr std::size_t max_kept(std::size_t n) const noexcept { return n; }
  void check() const {
    if (bin < 1 || bin > 65536)
      throw configuration_error("adacomp: bin must lie in 1 .. 65536, it is " + std::to_string(bin));
  }

  template <class Exec>
  bool select_fresh(step<Exec> const& ctx, in<Exec> a, in<Exec> g, selection<Exec>& kept, view<Exec> values) const {
    auto const n = a.extent(0);
    auto const chunks = ctx.template scratch<kernel::adacomp_chunk>(kernel::adacomp_chunks(n, bin));
    bool finite = true;
    kept.count = kernel::adacomp(ctx.exec, a.data(), g.data(), n, bin, kept.indices.data(), values.data(),
                                 chunks.data(), finite);
    return finite;
  }
};

static_assert(explain_selector<adacomp>());

}  // namespace gradpress
