// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/sum_pieces.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/lone_rank.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
/// Halves every sum, and notes how often each piece was seen.
struct halved {
  std::vector<int> seen;
  float top;
  bool right = true;
  halved(float const* g, float const* e, float* rest, std::size_t n)
      : seen((n + kernel::sum_piece - 1) / kernel::sum_piece) {
    floats const a(g, g + n), b(e ? e : g, (e ? e : g) + n);
    top = kernel::detail::for_sum_pieces(host{}, "test", g, e, rest, n, [&](std::size_t at, std::size_t m, float* x) {
      right = right && at % kernel::sum_piece == 0 && m == std::min(kernel::sum_piece, n - at);
      ++seen[at / kernel::sum_piece];
      for (std::size_t i = 0; i < m; ++i) {
        right = right && bits(x[i]) == bits(e ? a[at + i] + b[at + i] : a[at + i]);
        x[i] *= 0.5f;
      }
    });
  }
};
/// Sizes around pieces, chunks, and what goes around the caches.
constexpr std::size_t sizes[] = {0, 1, 15, 16, 17, 1023, 1024, 1025, 32768, 32769, 100003, (std::size_t{1} << 20) + 77};
}  // namespace

TEST_CASE("kernel/sum_pieces: each element once, summed, and what is left of it in its place; wherever that is") {
  for (std::size_t const n : sizes)
    for (bool const alone : {false, true}) {
      CAPTURE(n);
      CAPTURE(alone);
      auto const g = heavy_tailed(n, 1), e = heavy_tailed(n, 2);
      floats expected(n);
      float top = 0;
      for (std::size_t i = 0; i < n; ++i) {
        auto const sum = alone ? g[i] : g[i] + e[i];
        expected[i] = 0.5f * sum, top = std::max(top, std::fabs(sum));
      }
      auto const* const memory = alone ? nullptr : e.data();
      for_each_isa([&] {
        guarded<float> apart(n, 0), own(g), other(e), aligned(g, 0);
        auto const check = [&](halved const& h, guarded<float> const* rest) {
          CHECK(h.right);
          CHECK(std::all_of(h.seen.begin(), h.seen.end(), [](int times) { return times == 1; }));
          CHECK(bits(h.top) == bits(top));
          if (rest == nullptr) return;
          CHECK(rest->intact());
          CHECK(identical(rest->values(), expected));
        };
        check(halved(g.data(), memory, nullptr, n), nullptr);
        check(halved(g.data(), memory, apart.get(), n), &apart);
        check(halved(own.get(), memory, own.get(), n), &own);
        check(halved(aligned.get(), memory, aligned.get(), n), &aligned);
        if (!alone) check(halved(g.data(), other.get(), other.get(), n), &other);
        guarded<float> out(n), rest(n, 0);
        CHECK(kernel::hand_over_sum(host{}, g.data(), memory, rest.get(), n, out.get()));
        CHECK((out.intact() && rest.intact()));
        for (auto& v : expected) v *= 2;
        CHECK(identical(out.values(), expected));
        CHECK(identical(rest.values(), floats(n)));
        for (auto& v : expected) v *= 0.5f;
      });
    }
}

TEST_CASE("kernel/sum_pieces: what is not finite is seen wherever it stands, and sums that overflow") {
  constexpr std::size_t n = 33000;
  auto const g = heavy_tailed(n, 1), e = heavy_tailed(n, 2);
  for_each_isa([&] {
    for (std::size_t const at : {0u, 5u, 1023u, 1024u, 32767u, 32768u, 32999u})
      for (float const bad : {not_finite[0], not_finite[1], not_finite[2], 3e38f}) {
        auto spoilt = g, huge = e;
        spoilt[at] = bad;
        if (bad == 3e38f) huge[at] = bad;
        floats rest(n), out(n);
        CHECK_FALSE(kernel::hand_over_sum(host{}, spoilt.data(), huge.data(), rest.data(), n, out.data()));
        CHECK_FALSE(kernel::hand_over_sum(host{}, huge.data(), spoilt.data(), rest.data(), n, out.data()));
        if (bad == 3e38f) continue;
        CHECK_FALSE(kernel::hand_over_sum(host{}, spoilt.data(), nullptr, rest.data(), n, out.data()));
      }
  });
}
