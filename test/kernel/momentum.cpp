// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/momentum.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
using host = Kokkos::DefaultHostExecutionSpace;

/// Keeps a compiler from fusing what goes in with what it is used for.
float rounded(float x) {
  float volatile y = x;
  return y;
}

void check_all(std::size_t n, std::size_t shift, bool nesterov, float scale) {
  CAPTURE(n);
  CAPTURE(nesterov);
  sample const g(data::normal, n, 1), u(data::layers, n, 2), v(data::normal, n, 3);
  auto const copy = [&](sample const& x) { return guarded<float>({x.get(), x.get() + n}, shift); };
  guarded<float> const gs = copy(g), us = copy(u), vs = copy(v);
  kernel::momentum_pass const pass{gs.get(), us.get(), vs.get(), 0.9f, scale, nesterov};
  std::vector<float> next(n), a(n), rest(n), masked(n);
  for (std::size_t i = 0; i < n; ++i) {
    float const c = rounded(scale * g[i]);
    next[i] = nesterov ? rounded(0.9f * rounded(u[i] + c)) : rounded(rounded(0.9f * u[i]) + c);
    a[i] = rounded(v[i] + next[i]);
    if (nesterov) a[i] = rounded(a[i] + c);
    rest[i] = i % 7 == 0 ? 0 : i % 7 == 3 ? std::nextafter(a[i], 10.f) : a[i];
    masked[i] = rest[i] == a[i] ? next[i] : 0;
  }
  for_each_isa([&] {
    guarded<float> got_next(n, shift), got_a(n, shift);
    kernel::form_all(host{}, "test", kernel::momentum_form(pass, got_next.get(), n), got_a.get(), n);
    CHECK(got_next.same(guarded<float>(next)));
    CHECK(got_a.same(guarded<float>(a)));
    std::vector<index_t> at;
    for (std::size_t i = 0; i < n; ++i)
      if (i % 7 != 1) at.push_back(static_cast<index_t>(i));  // all that differ, and some that do not
    auto by_position = got_next;
    kernel::momentum_mask_at(host{}, pass, rest.data(), at.data(), at.size(), by_position.get());
    CHECK(by_position.same(guarded<float>(masked)));
    kernel::momentum_mask(host{}, pass, rest.data(), got_next.get(), n);
    CHECK(got_next.same(guarded<float>(masked)));
    CHECK((got_next.intact() && got_a.intact()));
  });
}
}  // namespace

TEST_CASE("kernel/momentum: what a plain loop gives, every product and sum rounded") {
  for (std::size_t const n : {0u, 1u, 7u, 16u, 33u, 1000u, 70001u})
    for (bool const nesterov : {false, true})
      for (float const scale : {1.f, 0.3f}) check_all(n, 4, nesterov, scale);
}
TEST_CASE("kernel/momentum: large, written around the caches or not") {
  for (std::size_t const shift : {0u, 4u}) check_all((std::size_t{1} << 20) + 77, shift, false, 1.f);
}
