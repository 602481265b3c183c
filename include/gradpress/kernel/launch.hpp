// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The one door through which host kernels reach Kokkos: `parallel_for` over chunks.
///
/// Chunks do not depend on the number of threads and each writes its own result, so results do not either. The chunk
/// function is type-erased: Kokkos' machinery is instantiated once an execution space, not once a kernel.

#include <gradpress/core/kokkos_compat.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

namespace gradpress::kernel {

namespace detail {
/// Outputs of at least this many elements are written around the caches.
inline constexpr std::size_t streaming_from = std::size_t{1} << 20;
}  // namespace detail

/// Borrowed callable `void(std::size_t chunk)`; lives as long as what it borrows.
class chunk_function {
  void const* self_;
  void (*call_)(void const*, std::size_t);

 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, chunk_function>)
      chunk_function(F const& f)  // NOLINT: implicit on purpose
      : self_(std::addressof(f)), call_([](void const* self, std::size_t c) { (*static_cast<F const*>(self))(c); }) {}
  void operator()(std::size_t chunk) const { call_(self_, chunk); }
};

/// Runs f(0) ... f(chunks - 1) on `exec`, in any order, and returns when all are done. Host execution spaces only.
template <class Exec>
void for_chunks(Exec const& exec, char const* label, std::size_t chunks, chunk_function f) {
  static_assert(on_host<Exec>, "gradpress: this kernel runs on host execution spaces; the device has its own.");
  if (chunks == 0) return;
  if (chunks == 1) return f(0);
  // Kokkos wants a string, and since 5.x copies it in every launch. It is for tools that watch, so where none does a
  // string that needs no memory will do; otherwise this one allocates once a thread and not once a launch.
  thread_local std::string text;
  text = Kokkos::Tools::profileLibraryLoaded() ? label : "gradpress";
  Kokkos::parallel_for(text, Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::size_t>>(exec, 0, chunks), f);
}

/// Runs f(begin, end) on consecutive ranges of `grain` elements that cover [0, n).
template <class Exec, class F>
void for_ranges(Exec const& exec, char const* label, std::size_t n, std::size_t grain, F const& f) {
  for_chunks(exec, label, (n + grain - 1) / grain, [&](std::size_t c) { f(c * grain, std::min(n, (c + 1) * grain)); });
}

}  // namespace gradpress::kernel
