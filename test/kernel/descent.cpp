// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/descent.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <doctest/doctest.h>

using namespace gradpress;
using namespace gradpress::test;

namespace {
using host = Kokkos::DefaultHostExecutionSpace;
using values = std::vector<float>;

/// Keeps a compiler from fusing what goes in with what it is used for.
float rounded(float x) {
  float volatile y = x;
  return y;
}
values sampled(std::size_t n, unsigned seed) {
  sample const s(data::normal, n, seed);
  return {s.get(), s.get() + n};
}
constexpr std::size_t sizes[] = {0, 1, 7, 16, 33, 1000, 70001};
}  // namespace

TEST_CASE("kernel/descent: momentum, as signal and as a step, is what a plain loop gives, every product rounded") {
  for (auto const n : sizes)
    for (bool const nesterov : {false, true})
      for (float const decay : {0.f, 0.3f}) {
        kernel::momentum_numbers const k{0.1f, 0.9f, decay, nesterov};
        auto const m = sampled(n, 1), g = sampled(n, 2), w = sampled(n, 3);
        values m_want(n), signal_want(n), x_want(n);
        for (std::size_t i = 0; i < n; ++i) {
          auto const d = decay == 0 ? g[i] : g[i] + rounded(decay * w[i]);
          m_want[i] = rounded(0.9f * m[i]) + d;
          signal_want[i] = rounded(0.1f * (nesterov ? d + rounded(0.9f * m_want[i]) : m_want[i]));
          x_want[i] = w[i] - signal_want[i];
        }
        guarded<float> const m_expected(m_want), signal_expected(signal_want), x_expected(x_want), w_expected(w);
        guarded<float> m_in(m, 4), g_in(g, 4), x(w, 4), m_out(n, 4), signal(n, 4), before(n, 4);
        kernel::descent_signal(host{}, k, m_in.get(), g_in.get(), x.get(), m_out.get(), signal.get(), n);
        CHECK((m_out.same(m_expected) && signal.same(signal_expected)));
        kernel::momentum_descent(host{}, k, m_in.get(), g_in.get(), x.get(), m_out.get(), before.get(), n);
        CHECK((m_out.same(m_expected) && x.same(x_expected) && before.same(w_expected)));
        kernel::descent_signal(host{}, k, m_in.get(), g_in.get(), before.get(), m_in.get(), g_in.get(),
                               n);  // in place
        CHECK((m_in.same(m_expected) && g_in.same(signal_expected)));
        CHECK((m_out.intact() && signal.intact() && before.intact() && x.intact() && m_in.intact() && g_in.intact()));
      }
}

TEST_CASE("kernel/descent: the other passes are what plain loops give") {
  for (auto const n : sizes)
    for (float const t : {0.f, 0.3f, 1.f}) {
      kernel::momentum_numbers const k{0.1f, 0.f, t, false};
      auto const x = sampled(n, 1), u = sampled(n, 2), e = sampled(n, 3), r = sampled(n, 4);
      values down(n), signed_down(n), lean(n), x_c(n), lean_step(n), left(n), local(n);
      for (std::size_t i = 0; i < n; ++i) {
        auto const s = u[i] > 0 ? 1.f : u[i] < 0 ? -1.f : 0.f;
        down[i] = x[i] - rounded(0.1f * (t == 0 ? u[i] : u[i] + rounded(t * x[i])));
        signed_down[i] = x[i] - rounded(0.1f * (t == 0 ? s : s + rounded(t * x[i])));
        lean[i] = x[i] - rounded(t * e[i]);
        x_c[i] = x[i] - u[i];
        lean_step[i] = x_c[i] - rounded(t * e[i]);
        left[i] = e[i] + r[i];
        local[i] = x_c[i] - left[i];
      }
      guarded<float> a(n, 4), b(n, 4), c(n, 4), in_place(x, 4), rest(r, 4);
      kernel::descent(host{}, k, x.data(), u.data(), a.get(), n);
      CHECK(a.same(guarded<float>(down)));
      kernel::sign_descent(host{}, k, u.data(), in_place.get(), b.get(), n);
      CHECK((in_place.same(guarded<float>(signed_down)) && b.same(guarded<float>(x))));
      kernel::lean(host{}, t, x.data(), e.data(), a.get(), n);
      CHECK(a.same(guarded<float>(lean)));
      kernel::lean(host{}, 1.f, x.data(), nullptr, a.get(), n);
      CHECK(a.same(guarded<float>(x)));
      kernel::lean_step(host{}, t, x.data(), u.data(), e.data(), a.get(), b.get(), n);
      CHECK((a.same(guarded<float>(x_c)) && b.same(guarded<float>(lean_step))));
      kernel::collect_step(host{}, x.data(), u.data(), e.data(), rest.get(), a.get(), b.get(), c.get(), n);
      CHECK((a.same(guarded<float>(x_c)) && b.same(guarded<float>(left)) && c.same(guarded<float>(local))));
      CHECK(rest.same(guarded<float>(values(n))));
      CHECK((a.intact() && b.intact() && c.intact() && in_place.intact() && rest.intact()));
    }
}
