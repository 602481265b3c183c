// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Where owned memory comes from. On Linux large pieces ask for huge pages: a kernel that reads or writes four streams
/// at once misses the translation cache on small ones, for a tenth of its time.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/types.hpp>

#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gradpress {

namespace detail {
inline void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::size_t page = std::size_t{2} << 20;
  auto const begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page,
             end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: failure is no matter
#endif
}
}  // namespace detail

/// Memory of n elements that nobody has written.
template <class Exec, class T = float>
buffer<Exec, T> unwritten(char const* label, std::size_t n) {
  buffer<Exec, T> b(Kokkos::view_alloc(std::string(label), Kokkos::WithoutInitializing), n);
  if constexpr (on_host<Exec>) detail::ask_for_huge_pages(b.data(), n * sizeof(T));
  return b;
}

GRADPRESS_ONCE_OF(unwritten, float);
GRADPRESS_ONCE_OF(unwritten, double);
GRADPRESS_ONCE_OF(unwritten, index_t);
GRADPRESS_ONCE_OF(unwritten, std::byte);

}  // namespace gradpress
