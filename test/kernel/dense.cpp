// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/dense.hpp>

#include "../support/guarded.hpp"
#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;
using sizes = std::vector<std::size_t>;
constexpr auto infinity = std::numeric_limits<float>::infinity();

/// Runs kernel(a, b, out) into fresh memory, into a and into b, and compares with f.
template <class Kernel, class F>
void check_pass(sample const& a, sample const& b, std::size_t n, std::size_t shift, Kernel const& kernel, F const& f) {
  std::vector<float> expected(n), as(a.get(), a.get() + n), bs(b.get(), b.get() + n);
  for (std::size_t i = 0; i < n; ++i) expected[i] = f(a[i], b[i]);
  guarded<float> const want(expected);
  for_each_isa([&] {
    guarded<float> out(n, shift), a2(as, shift), b2(bs, shift), a3(as, shift), b3(bs, shift);
    kernel(a2.get(), b2.get(), out.get());
    kernel(a2.get(), b2.get(), a2.get());
    kernel(a3.get(), b3.get(), b3.get());
    CHECK(out.same(want));
    CHECK(a2.same(want));
    CHECK(b3.same(want));
    CHECK((out.intact() && a2.intact() && b3.intact()));
  });
}

void check_all(std::size_t n, data kind, std::size_t shift) {
  CAPTURE(n);
  CAPTURE(static_cast<int>(kind));
  sample const a(kind, n, 1), b(data::normal, n, 2);
  check_pass(
      a, b, n, shift, [&](float* x, float* y, float* out) { CHECK(kernel::add(host{}, x, y, out, n)); },
      [](float x, float y) { return x + y; });
  check_pass(
      a, b, n, shift, [&](float* x, float* y, float* out) { kernel::sub(host{}, x, y, out, n); },
      [](float x, float y) { return x - y; });
  for_each_isa([&] {
    std::vector<float> const as(a.get(), a.get() + n);
    guarded<float> quotient(as, shift), product(n, shift), same(as, shift), copied(n, shift), cleared(as, shift),
        divided(n, shift), added(as, shift), subtracted(as, shift);
    kernel::divide_copy(host{}, a.get(), n, 3.f, divided.get());
    kernel::accumulate(host{}, b.get(), false, added.get(), n);
    kernel::accumulate(host{}, b.get(), true, subtracted.get(), n);
    kernel::divide(host{}, quotient.get(), n, 3.f);
    kernel::scale_copy(host{}, a.get(), n, 0.3f, product.get());
    kernel::scale_copy(host{}, same.get(), n, 0.3f, same.get());
    kernel::copy(host{}, a.get(), n, copied.get());
    kernel::fill_zero(host{}, cleared.get(), n);
    bool right = true;
    float top = 0;
    for (std::size_t i = 0; i < n; ++i) {
      top = std::max(top, std::abs(a[i]));
      right = right && bits(quotient[i]) == bits(a[i] / 3.f) && bits(product[i]) == bits(0.3f * a[i]) &&
              bits(same[i]) == bits(product[i]) && bits(copied[i]) == bits(a[i]) && bits(cleared[i]) == 0 &&
              bits(divided[i]) == bits(quotient[i]) && bits(added[i]) == bits(a[i] + b[i]) &&
              bits(subtracted[i]) == bits(a[i] - b[i]);
    }
    CHECK(right);
    CHECK((quotient.intact() && product.intact() && same.intact() && copied.intact() && cleared.intact()));
    CHECK((divided.intact() && added.intact() && subtracted.intact()));
    guarded<unsigned char> flags(kernel::dense_chunks(n));
    guarded<float> tops(kernel::dense_chunks(n));
    CHECK(kernel::all_finite(host{}, a.get(), n, flags.get()));
    CHECK(bits(kernel::max_abs(host{}, a.get(), n, tops.get())) == bits(top));
    CHECK((flags.intact() && tops.intact()));
  });
}

}  // namespace

TEST_CASE("kernel/dense: what a plain loop gives") {
  for (auto const n : sizes{0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 1000, 4097, 100003})
    for (auto const kind : {data::normal, data::layers, data::denormal, data::zero}) check_all(n, kind, 4);
}

TEST_CASE("kernel/dense: large, aligned and not") {
  for (auto const shift : sizes{0, 4}) check_all((std::size_t{1} << 20) + 77, data::normal, shift);
}

TEST_CASE("kernel/dense: one bad element anywhere") {
  for (auto const n : sizes{1, 17, 33, 1000, 200000})
    for (auto const at : {std::size_t{0}, n / 3, n - 1})
      for (auto const bad :
           {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()})
        for_each_isa([&] {
          sample a(data::normal, n), b(data::normal, n);
          a[at] = bad;
          std::vector<unsigned char> flags(kernel::dense_chunks(n));
          std::vector<float> tops(kernel::dense_chunks(n)), out(n);
          CHECK_FALSE(kernel::all_finite(host{}, a.get(), n, flags.data()));
          CHECK(kernel::max_abs(host{}, a.get(), n, tops.data()) == infinity);
          CHECK_FALSE(kernel::add(host{}, a.get(), b.get(), out.data(), n));
          a[at] = b[at] = 3e38f;
          CHECK(kernel::all_finite(host{}, a.get(), n, flags.data()));
          CHECK_FALSE(kernel::add(host{}, a.get(), b.get(), out.data(), n));
        });
}
