// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/x86/philox.hpp>

#include "../../support/kernel_cases.hpp"

#include <cstring>

using namespace gradpress;

#if GRADPRESS_X86
TEST_CASE("kernel/x86/philox: the words of the scalar generator") {
  for (std::uint64_t const key :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0xffffffffffffffff}, std::uint64_t{0x123456789abcdef}})
    for (std::uint64_t const first : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{0xfffffff8},
                                      std::uint64_t{0xfffffffd}, std::uint64_t{0x123456789a}}) {
      kernel::detail::philox_rounds const rounds(key);
      test::for_each_isa([&] {
        alignas(64) std::uint32_t out[64] = {};
        if (kernel::current_isa() == kernel::isa::portable) return;
        if (kernel::current_isa() == kernel::isa::avx512)
          kernel::detail::philox16_avx512(rounds, first, out);
        else
          kernel::detail::philox16_avx2(rounds, first, out);
        bool same = true;
        for (std::size_t i = 0; i < 64; ++i) same = same && out[i] == philox(key, first + i / 4).word[i % 4];
        CHECK(same);
      });
    }
}
#endif
