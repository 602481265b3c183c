// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/device/compact_above.hpp>
#include <gradpress/kernel/device/stochastic_int.hpp>

#include "device.hpp"

#include <gradpress/kernel/stochastic_int.hpp>

#include <bit>
#include <cmath>

namespace gp = gradpress;
namespace device = gradpress::kernel::device;
using gp::index_t;

#if defined(KOKKOS_ENABLE_CUDA)
using exec = Kokkos::Cuda;
#else
using exec = gp::serial;
#endif

namespace {

std::vector<float> numbers(std::size_t n) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = std::sin(static_cast<float>(i) * 0.7f) * static_cast<float>(i % 13);
  return x;
}

}  // namespace

TEST_CASE("kernel/device/compact_above: on the device") {
  for (std::size_t const n : {std::size_t{1}, std::size_t{4097}, std::size_t{100003}}) {
    auto const x = numbers(n);
    std::vector<index_t> want;
    for (std::size_t i = 0; i < n; ++i)
      if (std::fabs(x[i]) >= 6.0f) want.push_back(static_cast<index_t>(i));
    device_array<float> dx(x), value(want.size());
    device_array<index_t> index(want.size()), count(1), work(device::compact_workspace_words(n, want.size()));
    using words = gp::view<exec, index_t>;
    exec const on{};
    device::compact_above<exec>(on, gp::in<exec>(dx.data(), n), std::bit_cast<std::uint32_t>(6.0f),
                                words(index.data(), want.size()), gp::view<exec>(value.data(), want.size()),
                                words(count.data(), 1),
                                words(work.data(), device::compact_workspace_words(n, want.size())));
    on.fence();
    CHECK(count.read()[0] == want.size());
    CHECK(index.read() == want);
    auto const values = value.read();
    for (std::size_t i = 0; i < want.size(); ++i) REQUIRE(values[i] == x[want[i]]);
  }
}

TEST_CASE("kernel/device/stochastic_int: on the device, the bits of the host") {
  for (int const bits : {8, 4, 2}) {
    std::size_t const n = 10007, block = 1024;
    auto const g = numbers(n);
    std::vector<float> e(n, 0.25f), rest(n), sum = g;
    std::vector<std::byte> codes(gp::kernel::int_bytes(n, bits, block));
    REQUIRE(gp::kernel::int_encode_sum(gp::serial{}, g.data(), e.data(), rest.data(), n, bits, block, true, 7,
                                       codes.data()));
    gp::kernel::int_accumulate(gp::serial{}, codes.data(), n, bits, block, 1.0f, sum.data());

    device_array<float> dg(g), de(e), drest(n), dsum(g), dx(n);
    device_array<std::byte> dcodes(codes.size());
    device_array<std::uint32_t> flag(std::vector<std::uint32_t>{0});
    exec const on{};
    device::int_encode_sum(on, dg.data(), de.data(), drest.data(), n, bits, block, true, 7, dcodes.data(), flag.data());
    device::int_accumulate(on, dcodes.data(), n, bits, block, 1.0f, dsum.data());
    device::int_decode(on, dcodes.data(), n, bits, block, dx.data());
    on.fence();
    CHECK(dcodes.read() == codes);
    CHECK(drest.read() == rest);
    CHECK(dsum.read() == sum);
    CHECK(flag.read()[0] == 0);
    std::vector<float> x(n);
    gp::kernel::int_decode(gp::serial{}, codes.data(), n, bits, block, x.data());
    CHECK(dx.read() == x);
  }
}
