// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Everything that differs between Kokkos 3.4 and 5.x, in one place.

// Kokkos 3.4 was written for C++14; seen through a C++20 compiler as a system header it is quiet.
#if defined(__GNUC__)
#pragma GCC system_header
#endif

#include <Kokkos_Core.hpp>

namespace gradpress {

/// True where a host pointer may be read and written directly.
template <class Exec>
inline constexpr bool on_host = Kokkos::SpaceAccessibility<Kokkos::HostSpace, typename Exec::memory_space>::accessible;

}  // namespace gradpress
