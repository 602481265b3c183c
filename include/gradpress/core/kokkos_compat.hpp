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

/// For ranks that are threads of one process: one thread a rank, so that they do not share an execution space. Where
/// Kokkos was built without Serial it is the default host space, which then serves them in turns.
#if defined(KOKKOS_ENABLE_SERIAL)
using serial = Kokkos::Serial;
#else
using serial = Kokkos::DefaultHostExecutionSpace;
#endif

/// True where a host pointer may be read and written directly.
template <class Exec>
inline constexpr bool on_host = Kokkos::SpaceAccessibility<Kokkos::HostSpace, typename Exec::memory_space>::accessible;

/// False where Kokkos lets only the thread that initialised it use this space: its 3.x does so with OpenMP.
template <class Exec>
bool usable_here() {
#if KOKKOS_VERSION < 40000
  return Exec::impl_is_initialized();
#else
  return true;
#endif
}

/// Waits for what `exec` still does. Since 3.5 fences have names, and the default one asks for memory.
template <class Exec>
void fence(Exec const& exec) {
  if constexpr (requires { exec.fence("gradpress"); })
    exec.fence("gradpress");
  else
    exec.fence();
}

}  // namespace gradpress
