// SPDX-License-Identifier: Apache-2.0
// Selectors with supports of their own against memcpy, on normal numbers, on exponential ones and on layers of different
// scale: what an estimated threshold or a random draw costs beside the exact top_k; and a remembered one, over the steps
// from one exact threshold to the next, a memory added in the same pass.   ./dev bench select [--json FILE]

#include "support/harness.hpp"

#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/gaussian_k.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
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
  /// All steps of a period by s against as many by top_k; each step's signal is x and one of two memories.
  void compare(reused_top_k const& s, array const& one, array const& other) {
    auto const n = x_.size();
    auto const a = unwritten<exec_space>("a", n);
    state_of<reused_top_k, exec_space> state(s, ctx_, shape{n, 1});
    top_k const exact{.density = s.density};
    bool finite = true;
    auto const each_step = [&](auto const& select) {
      for (int i = 0; i < s.period; ++i) {
        finite = select(in<exec_space>((i % 2 == 0 ? one : other).data(), n)) && finite;
        ++ctx_.number;
        memory_.release();
      }
    };
    in<exec_space> const g(x_.data(), n);
    auto const reused = [&] {
      each_step([&](in<exec_space> e) {
        bool const good = s.select_sum(ctx_, g, e, view<exec_space>(a), kept_, view<exec_space>(values_), state);
        state.commit();
        return good;
      });
    };
    auto const exactly = [&] {
      each_step([&](in<exec_space> e) {
        return exact.select_sum(ctx_, g, e, view<exec_space>(a), kept_, view<exec_space>(values_));
      });
    };
    h_.compare(describe(s) + " beside top_k, " + data_, 1, reused, exactly, [&] {
      std::printf("    exact %.0f times of %d\n", static_cast<double>(state.stands(1)), s.period);
      reused();
      auto const k = s.max_kept(n);
      return finite && kept_.count >= k - k / 5 && in_order(k) && largest_are_kept(a.data());
    });
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
    auto const name = describe(s) + ", " + data_;
    h_.add(name, 0, 0, body, [&] { return finite && in_order(s.max_kept(n)) && meant(s); });
    if (h_.wants(name))
      std::printf("    kept %zu of %zu: %.5f\n", kept_.count, n,
                  static_cast<double>(kept_.count) / static_cast<double>(n));
  }

 private:
  [[nodiscard]] bool in_order(std::size_t most) const {
    for (std::size_t j = 1; j < kept_.count; ++j)
      if (kept_.indices(j - 1) >= kept_.indices(j)) return false;
    return kept_.count > 0 && kept_.count <= most && kept_.indices(kept_.count - 1) < x_.size();
  }
  /// Estimates and top_k: the largest ones. Unbiased draws: the sum of magnitudes, nearly. adacomp: one magnitude.
  template <class S>
  [[nodiscard]] bool meant(S const&) const {
    if constexpr (wants_fresh<S>) {
      for (std::size_t j = 1; j < kept_.count; ++j)
        if (std::fabs(values_(j)) != std::fabs(values_(0))) return false;
    } else if constexpr (std::same_as<S, own_random_k>) {
      for (std::size_t j = 0; j < kept_.count; ++j)
        if (values_(j) != x_[kept_.indices(j)]) return false;
    } else if constexpr (writes_values<S>) {
      double sent = 0, all = 0;
      for (std::size_t j = 0; j < kept_.count; ++j) sent += static_cast<double>(std::fabs(values_(j)));
      for (std::size_t i = 0; i < x_.size(); ++i) all += static_cast<double>(std::fabs(x_[i]));
      return std::fabs(sent - all) < 0.1 * all;
    } else {
      return largest_are_kept(x_.data());
    }
    return true;
  }
  [[nodiscard]] bool largest_are_kept(float const* x) const {
    float least = std::fabs(x[kept_.indices(0)]), left = 0;
    for (std::size_t j = 0; j < kept_.count; ++j) least = std::min(least, std::fabs(x[kept_.indices(j)]));
    for (std::size_t i = 0, j = 0; i < x_.size(); ++i)
      if (j < kept_.count && kept_.indices(j) == i)
        ++j;
      else
        left = std::max(left, std::fabs(x[i]));
    return left <= least;
  }
};
}  // namespace

int main(int argc, char** argv) {
  auto const o = parse(argc, argv, "bench select: selectors beside the exact top_k");
  Kokkos::initialize();
  bool good = false;
  {
    harness h(o, "select", exec_space().concurrency());
    array x(h.n()), one(h.n()), other(h.n());  // memories
    fill_gradient(one, 3);
    for (std::size_t i = 0; i < h.n(); ++i)
      other[i] = one[std::min(i ^ 1, h.n() - 1)];  // so that layers have one scale
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
        s.add(sidco{.density = d, .fit = tail_fit::pareto});
        s.add(own_random_k{.density = d});
        s.add(unbiased_density{.density = d});
        s.add(atomo{.density = d});
      }
      s.add(unbiased_sparsifier{.variance = 10});
      s.add(adacomp{});
      if (data[0] == 'l')
        for (double const d : {0.001, 0.01}) s.compare({.density = d}, one, other);
    }
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
