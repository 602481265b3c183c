// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What selectors with estimated thresholds must keep. Include selector_laws.hpp and distributions.hpp first.

#include "kernel_cases.hpp"

#include <gradpress/select/density.hpp>

namespace gradpress::test {

/// Of what distribution ever: at least enough(k) entries, or all that are not zero, and at most k, the largest ones, on
/// every path of instructions.
template <class Make, class Enough>
void check_estimates(Make const& make, Enough const& enough) {
  constexpr std::size_t n = 100003;
  for (auto const& x : {gaussian(n), laplace(n), floats(n, -2.f), floats(n), one_hot(n), mostly_zero(n, 50),
                        mostly_zero(n, 5000), values_of({data::blocks, n}, n), values_of({data::layers, n}, n)})
    for (double const d : {0.0004, 0.001, 0.01, 0.1, 0.7}) {
      CAPTURE(d);
      auto const k = kept_of(d, n);
      auto const kept = run_select(make(d), x);
      CHECK(kept.size() <= k);
      CHECK(kept.size() >= std::min(enough(k), nonzeros(x)));
      CHECK(are_largest(kept, x));
      CHECK(std::none_of(kept.begin(), kept.end(), [&](index_t i) { return x[i] == 0; }));
    }
  auto const x = laplace(n);
  auto const once = run_select(make(0.02), x);
  for_each_isa([&] { CHECK(run_select(make(0.02), x) == once); });
}

}  // namespace gradpress::test
