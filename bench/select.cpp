// SPDX-License-Identifier: Apache-2.0
// Selectors with supports of their own against memcpy, on normal numbers, on exponential ones and on layers of different
// scale: what an estimated threshold or a random draw costs beside the exact top_k.   ./dev bench select [--json FILE]

#include "support/harness.hpp"

#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/sidco.hpp>
#include <gradpress/select/top_k.hpp>
#include <gradpress/select/unbiased_sparsifier.hpp>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
using exec_space = Kokkos::DefaultHostExecutionSpace;

/// Normal or exponential magnitudes of both signs.
void fill(array const& x, bool normal) {
  std::uint64_t s = 17;
  for (std::size_t i = 0; i < x.size(); ++i) {
    auto const u1 = static_cast<double>((splitmix(s) >> 11) + 1) * 0x1p-53;
    auto const bits = splitmix(s);
    auto const u2 = static_cast<double>(bits >> 11) * 0x1p-53;
    x[i] = static_cast<float>(normal ? std::sqrt(-2 * std::log(u1)) * std::cos(6.283185307179586 * u2)
                                     : (bits % 2 == 0 ? std::log(u1) : -std::log(u1)));
  }
}

class selecting {
  harness& h_;
  array const& x_;
  std::string data_;
  arena<exec_space> memory_;
  step<exec_space> ctx_;
  selection<exec_space> kept_;
  buffer<exec_space> values_;

 public:
  selecting(harness& h, array const& x, std::string data)
      : h_(h), x_(x), data_(std::move(data)), values_(unwritten<exec_space>("values", x.size())) {
    kept_.indices = unwritten<exec_space, index_t>("kept", x.size());
    ctx_.seed = 3;
    ctx_.memory = &memory_;
  }
  template <class S>
  void add(S const& s) {
    auto const n = x_.size();
    in<exec_space> const x(x_.data(), n);
    bool finite = false;
    auto const body = [&] {
      if constexpr (wants_fresh<S>)
        finite = s.select_fresh(ctx_, x, x, kept_, view<exec_space>(values_));
      else if constexpr (writes_values<S>)
        finite = s.select_values(ctx_, x, kept_, view<exec_space>(values_));
      else
        finite = s.select(ctx_, x, kept_);
      memory_.release();
    };
    h_.add(describe(s) + ", " + data_, 0, 0, body, [&] {
      bool good = finite && kept_.count > 0 && kept_.count <= s.max_kept(n);
      for (std::size_t j = 1; j < kept_.count; ++j) good &= kept_.indices(j - 1) < kept_.indices(j);
      return good && kept_.indices(kept_.count - 1) < n;
    });
    if (h_.wants(describe(s) + ", " + data_))
      std::printf("    kept %zu of %zu: %.5f\n", kept_.count, n,
                  static_cast<double>(kept_.count) / static_cast<double>(n));
  }
};
}  // namespace

int main(int argc, char** argv) {
  auto const o = parse(argc, argv, "bench select: selectors beside the exact top_k");
  Kokkos::initialize();
  bool good = false;
  {
    harness h(o, "select", exec_space().concurrency());
    array x(h.n());
    for (char const* const data : {"normal", "exponential", "layers"}) {
      if (data[0] == 'l')
        fill_gradient(x, 2);
      else
        fill(x, data[0] == 'n');
      selecting s(h, x, data);
      for (double const d : {0.001, 0.01}) {
        s.add(top_k{.density = d});
        s.add(sampled_top_k{.density = d});
        s.add(gaussian_k{.density = d});
        s.add(sidco{.density = d});
        s.add(own_random_k{.density = d});
        s.add(unbiased_density{.density = d});
        s.add(atomo{.density = d});
      }
      s.add(unbiased_sparsifier{.variance = 10});
      s.add(adacomp{});
    }
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
