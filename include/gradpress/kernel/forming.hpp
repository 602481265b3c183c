// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Signals that are made piece by piece, by whoever reads them first and while they are in the nearest cache.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/blocks.hpp>

#include <concepts>

namespace gradpress::kernel {

/// Borrowed callable `void(std::size_t from, std::size_t to, float* out)`: writes elements [from, to) of a signal to `out`,
/// the first of them to *out, and to its own outputs what belongs to these elements. For any range, on any thread and any
/// number of times, always the same bits. `out` overlaps nothing that it reads. It may write around the caches, so that
/// the thread that called it ends with `end_streaming(true)`. Lives as long as what it borrows.
class forming {
  void const* self_;
  void (*call_)(void const*, std::size_t, std::size_t, float*);

 public:
  /// A piece of this length is read, used and written before the lines of the next one that were asked for have all
  /// arrived: longer ones leave the memory idle in between, shorter ones cost more calls.
  static constexpr std::size_t piece = 256;

  template <class F>
  requires(!std::same_as<F, forming>) forming(F const& f)  // NOLINT: implicit on purpose
      : self_(std::addressof(f)), call_([](void const* self, std::size_t from, std::size_t to, float* out) {
          (*static_cast<F const*>(self))(from, to, out);
        }) {}
  void operator()(std::size_t from, std::size_t to, float* out) const { call_(self_, from, to, out); }
};

namespace detail {

#if GRADPRESS_X86
GRADPRESS_AVX2 inline std::size_t put_lines_avx2(float const* piece, std::size_t n, float* out) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    auto const x = _mm256_loadu_ps(piece + i), y = _mm256_loadu_ps(piece + i + 8);
    _mm256_stream_ps(out + i, x), _mm256_stream_ps(out + i + 8, y);
  }
  return i;
}
#endif
/// A piece of n elements that was made in the nearest cache goes to `out`, around the caches if `streaming`. Stores that
/// come singly between loads would hold up those from the same place of another page: up to ten times slower.
void put_piece(float const* piece, std::size_t n, float* out, bool streaming) noexcept;
/// Elements [from, to) of the signal, to a[from] and on.
void form_range(forming const& form, std::size_t from, std::size_t to, float* a, bool streaming);

#if GRADPRESS_BODIES
GRADPRESS_INLINE void put_piece(float const* piece, std::size_t n, float* out,
                                [[maybe_unused]] bool streaming) noexcept {
  std::size_t i = 0;
#if GRADPRESS_X86
  if (streaming && reinterpret_cast<std::uintptr_t>(out) % 64 == 0) {
    if (current_isa() != isa::portable) i = put_lines_avx2(piece, n, out);
    for (; i + 4 <= n; i += 4) _mm_stream_ps(out + i, _mm_loadu_ps(piece + i));
  }
#endif
  std::memcpy(out + i, piece + i, (n - i) * sizeof(float));
}

GRADPRESS_INLINE void form_range(forming const& form, std::size_t from, std::size_t to, float* a, bool streaming) {
  alignas(64) float piece[forming::piece];
  for (; from < to; from += forming::piece) {
    auto const n = std::min(forming::piece, to - from);
    form(from, from + n, piece);
    put_piece(piece, n, a + from, streaming);
  }
  end_streaming(true);
}
#endif

}  // namespace detail

/// The whole signal, of n elements, to `a`, which overlaps nothing that `form` reads or writes.
template <class Exec>
void form_all(Exec const& exec, char const* label, forming const& form, float* a, std::size_t n) {
  bool const streaming = detail::streams(a, n);
  for_ranges(exec, label, n, 32768,
             [&](std::size_t from, std::size_t to) { detail::form_range(form, from, to, a, streaming); });
}

GRADPRESS_ONCE(form_all);

}  // namespace gradpress::kernel
