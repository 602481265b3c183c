// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The passes over whole vectors that every method needs: is it finite, add, subtract, divide, scale, copy, clear.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/memory.hpp>
#include <gradpress/kernel/launch.hpp>
#include <gradpress/kernel/portable/dense.hpp>
#include <gradpress/kernel/x86/dense.hpp>

#include <atomic>

namespace gradpress::kernel {

/// Elements of a chunk, and how many chunks n elements make.
inline constexpr std::size_t dense_grain = 65536;
[[nodiscard]] constexpr std::size_t dense_chunks(std::size_t n) noexcept { return (n + dense_grain - 1) / dense_grain; }

namespace detail {

/// Bits of infinity: at or above it a magnitude is not finite.
inline constexpr std::uint32_t infinite_magnitude = 0x7f800000u;

template <dense_op Op>
inline std::uint32_t dense_chunk([[maybe_unused]] isa path, dense_pass const& s, std::size_t from,
                                 std::size_t to) noexcept {
  std::uint32_t top;
#if GRADPRESS_X86
  if (path == isa::avx512)
    top = dense_range_avx512<Op>(s, from, to);
  else if (path == isa::avx2)
    top = dense_range_avx2<Op>(s, from, to);
  else
#endif
    top = dense_range<Op>(s, from, to);
  end_streaming(s.streaming);
  return top;
}

template <dense_op Op, class Exec>
bool run_dense(Exec const& exec, char const* label, dense_pass s, std::size_t n) {
  s.streaming = s.out != s.a && s.out != s.b && streams(s.out, n);
  auto const path = current_isa();
  std::atomic<bool> finite{true};
  for_ranges(exec, label, n, dense_grain, [&](std::size_t from, std::size_t to) {
    if (dense_chunk<Op>(path, s, from, to) >= infinite_magnitude) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

}  // namespace detail

/// Is every element finite? `partial` is dense_chunks(n) bytes of workspace.
template <class Exec>
bool all_finite(Exec const& exec, float const* x, std::size_t n, unsigned char* partial) {
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::all_finite", dense_chunks(n), [&](std::size_t c) {
    auto const from = c * dense_grain, to = std::min(n, from + dense_grain);
    partial[c] = detail::dense_chunk<detail::dense_op::read>(path, {x, nullptr, 0.f, nullptr}, from, to) <
                 detail::infinite_magnitude;
  });
  return std::all_of(partial, partial + dense_chunks(n), [](unsigned char finite) { return finite != 0; });
}

namespace detail {
template <dense_op Op, class Exec>
float top_of(Exec const& exec, dense_pass const& s, std::size_t n, float* partial) {
  auto const path = current_isa();
  for_chunks(exec, "gradpress::kernel::max_abs", dense_chunks(n), [&](std::size_t c) {
    auto const top = dense_chunk<Op>(path, s, c * dense_grain, std::min(n, (c + 1) * dense_grain));
    partial[c] = std::bit_cast<float>(std::min(top, infinite_magnitude));
  });
  float top = 0;
  for (std::size_t c = 0; c < dense_chunks(n); ++c) top = std::max(top, partial[c]);
  return top;
}
}  // namespace detail

/// The largest |x|, 0 if n = 0, infinity if x holds NaN or infinity. `partial` is dense_chunks(n) floats of workspace.
template <class Exec>
float max_abs(Exec const& exec, float const* x, std::size_t n, float* partial) {
  return detail::top_of<detail::dense_op::read>(exec, {x, nullptr, 0.f, nullptr}, n, partial);
}
/// The same of g + e, or of g if e is null. Reads 2 n floats.
template <class Exec>
float max_abs_sum(Exec const& exec, float const* g, float const* e, std::size_t n, float* partial) {
  return e ? detail::top_of<detail::dense_op::read_sum>(exec, {g, e, 0.f, nullptr}, n, partial)
           : max_abs(exec, g, n, partial);
}

/// a = g + e; true if every sum is finite. a may be g or e.
template <class Exec>
bool add(Exec const& exec, float const* g, float const* e, float* a, std::size_t n) {
  return detail::run_dense<detail::dense_op::add>(exec, "gradpress::kernel::add", {g, e, 0.f, a}, n);
}

/// out = a - b; out may be a or b.
template <class Exec>
void sub(Exec const& exec, float const* a, float const* b, float* out, std::size_t n) {
  detail::run_dense<detail::dense_op::sub>(exec, "gradpress::kernel::sub", {a, b, 0.f, out}, n);
}

/// a - b, made piece by piece: see `forming`.
class difference_form {
  float const *a_, *b_;
  isa path_;

 public:
  difference_form(float const* a, float const* b) noexcept;
  void operator()(std::size_t from, std::size_t to, float* out) const;
};

#if GRADPRESS_BODIES
GRADPRESS_INLINE difference_form::difference_form(float const* a, float const* b) noexcept
    : a_(a), b_(b), path_(current_isa()) {}
GRADPRESS_INLINE void difference_form::operator()(std::size_t from, std::size_t to, float* out) const {
  detail::dense_chunk<detail::dense_op::sub>(path_, {a_ + from, b_ + from, 0.f, out}, 0, to - from);
}
#endif

/// to += from, or -= with `minus`: no product, so no compiler can contract it differently.
template <class Exec>
void accumulate(Exec const& exec, float const* from, bool minus, float* to, std::size_t n) {
  minus ? sub(exec, to, from, to, n) : static_cast<void>(add(exec, to, from, to, n));
}

/// out = x / divisor: one rounding, unlike a product with 1 / divisor; out may be x. True if every result is finite.
template <class Exec>
bool divide_copy(Exec const& exec, float const* x, std::size_t n, float divisor, float* out) {
  return detail::run_dense<detail::dense_op::divide>(exec, "gradpress::kernel::divide", {x, nullptr, divisor, out}, n);
}
template <class Exec>
bool divide(Exec const& exec, float* x, std::size_t n, float divisor) {
  return divide_copy(exec, x, n, divisor, x);
}

/// out = factor * x; out may be x.
template <class Exec>
void scale_copy(Exec const& exec, float const* x, std::size_t n, float factor, float* out) {
  detail::run_dense<detail::dense_op::multiply>(exec, "gradpress::kernel::scale_copy", {x, nullptr, factor, out}, n);
}

/// out = x, which do not overlap.
template <class Exec>
void copy(Exec const& exec, float const* x, std::size_t n, float* out) {
  for_ranges(exec, "gradpress::kernel::copy", n, dense_grain,
             [&](std::size_t from, std::size_t to) { std::memcpy(out + from, x + from, (to - from) * sizeof(float)); });
}

/// x = 0.
template <class Exec>
void fill_zero(Exec const& exec, float* x, std::size_t n) {
  for_ranges(exec, "gradpress::kernel::fill_zero", n, dense_grain,
             [&](std::size_t from, std::size_t to) { std::memset(x + from, 0, (to - from) * sizeof(float)); });
}

/// Memory of n zeros, first touched by the threads that will use it.
template <class Exec>
buffer<Exec> zeros(Exec const& exec, char const* label, std::size_t n) {
  auto const b = unwritten<Exec>(label, n);
  fill_zero(exec, b.data(), n);
  return b;
}

GRADPRESS_ONCE(all_finite);
GRADPRESS_ONCE(max_abs);
GRADPRESS_ONCE(max_abs_sum);
GRADPRESS_ONCE(add);
GRADPRESS_ONCE(sub);
GRADPRESS_ONCE(accumulate);
GRADPRESS_ONCE(divide_copy);
GRADPRESS_ONCE(divide);
GRADPRESS_ONCE(scale_copy);
GRADPRESS_ONCE(copy);
GRADPRESS_ONCE(fill_zero);
GRADPRESS_ONCE(zeros);

}  // namespace gradpress::kernel
