// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/blend.hpp>

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
float mean(float t, float a, float b) { return rounded(rounded((1 - t) * a) + rounded(t * b)); }

/// Runs kernel(a, b, c, out) into fresh memory, into each input, and compares with f(a, b, c).
template <class Kernel, class F>
void check_pass(std::size_t n, bool in_place, Kernel const& kernel, F const& f) {
  sample const a(data::normal, n, 1), b(data::layers, n, 2), c(data::normal, n, 3);
  std::vector<float> expected(n), as(a.get(), a.get() + n), bs(b.get(), b.get() + n), cs(c.get(), c.get() + n);
  for (std::size_t i = 0; i < n; ++i) expected[i] = f(a[i], b[i], c[i]);
  guarded<float> const want(expected);
  for (int target = 0; target < (in_place ? 4 : 1); ++target) {
    CAPTURE(target);
    guarded<float> out(n, 4), a2(as, 4), b2(bs, 4), c2(cs, 4);
    auto& to = target == 0 ? out : target == 1 ? a2 : target == 2 ? b2 : c2;
    kernel(a2.get(), b2.get(), c2.get(), to.get());
    CHECK(to.same(want));
    CHECK((out.intact() && a2.intact() && b2.intact() && c2.intact()));
  }
}
}  // namespace

TEST_CASE("kernel/blend: what a plain loop gives, every product rounded") {
  for (std::size_t const n : {0u, 1u, 7u, 16u, 33u, 1000u, 70001u})
    for (float const t : {1.f, 0.5f, 0.1f, 1e-3f}) {
      CAPTURE(n);
      CAPTURE(t);
      check_pass(
          n, t != 1.f, [&](float* a, float* b, float*, float* out) { kernel::blend(host{}, t, a, b, out, n); },
          [&](float a, float b, float) { return t == 1.f ? b : mean(t, a, b); });
      check_pass(
          n, true, [&](float* a, float* b, float* c, float* out) { kernel::blend_less(host{}, t, a, b, c, out, n); },
          [&](float a, float b, float c) { return (t == 1.f ? b : mean(t, a, b)) - c; });
      check_pass(
          n, true,
          [&](float* a, float* b, float* c, float* out) { kernel::blend_difference(host{}, t, a, b, c, out, n); },
          [&](float a, float b, float c) { return t == 1.f ? b - c : mean(t, a, rounded(b - c)); });
    }
}
